package sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const sasPrefix = "SharedAccessSignature "

// token is a shared access signature, "Control access to IoT Hub by using shared access signatures".
type token struct {
	resource  string // as it is written: what is signed
	stamp     string // as it is written
	expiry    time.Time
	signature []byte
	name      string // of the key; "" is none
}

// parseToken takes a token apart. Its fields may stand in any order, each once.
func parseToken(s string) (*token, error) {
	rest, ok := strings.CutPrefix(s, sasPrefix)
	if !ok {
		return nil, errors.New("not a shared access signature")
	}
	fields := map[string]string{}
	for pair := range strings.SplitSeq(rest, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if _, twice := fields[name]; twice || !strings.Contains(" sr sig se skn ", " "+name+" ") {
			return nil, fmt.Errorf("shared access signature with a field %q", name)
		}
		fields[name] = value
	}
	return tokenOf(fields)
}

func tokenOf(fields map[string]string) (*token, error) {
	t := &token{resource: fields["sr"], stamp: fields["se"]}
	if t.resource == "" {
		return nil, errors.New("shared access signature without sr")
	}
	seconds, err := strconv.ParseInt(t.stamp, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("shared access signature with se %q", t.stamp)
	}
	t.expiry = time.Unix(seconds, 0)
	if t.name, err = url.QueryUnescape(fields["skn"]); err != nil {
		return nil, fmt.Errorf("shared access signature with skn: %w", err)
	}
	sig, err := url.QueryUnescape(fields["sig"]) // a '+' that is not encoded is a space
	if err == nil {
		t.signature, err = base64.StdEncoding.Strict().DecodeString(sig)
	}
	if err != nil {
		return nil, fmt.Errorf("shared access signature with sig: %w", err)
	}
	return t, nil
}

// check says why the token does not open resource now, or nil. Clients write the resource percent-encoded or not,
// and sign what they write: the signature is over the very text, and the comparison is not.
func (t *token) check(resource, name string, keys ...[]byte) error {
	written, err := url.PathUnescape(t.resource)
	switch {
	case err != nil || !strings.EqualFold(written, resource):
		return fmt.Errorf("token is for %q, not for %q", t.resource, resource)
	case t.name != name:
		return fmt.Errorf("token names the key %q, not %q", t.name, name)
	case !t.expiry.After(time.Now()):
		return fmt.Errorf("token expired at %s", t.expiry.UTC())
	case !t.signedBy(keys):
		return errors.New("token is not signed with the key")
	}
	return nil
}

func (t *token) signedBy(keys [][]byte) bool {
	for _, k := range keys {
		if len(k) > 0 && hmac.Equal(t.signature, mac(k, t.resource+"\n"+t.stamp)) {
			return true
		}
	}
	return false
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
