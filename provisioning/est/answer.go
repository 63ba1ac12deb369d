package est

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

const (
	// maxAnswer is far above any chain: sixty certificates with RSA-4096.
	maxAnswer = 128 << 10
	// pendingWait is for a 202 without the Retry-After that it must have.
	pendingWait = time.Minute
)

// answer is what the server said to an operation.
type answer struct {
	*web.Answer
	op string
}

// absent reports whether the server does not have the operation.
func (a *answer) absent() bool {
	return a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed || a.Status == http.StatusNotImplemented
}

// certificates reads a certs-only answer.
func (a *answer) certificates() ([]*x509.Certificate, error) {
	if err := a.want("application/pkcs7-mime", "application/x-pkcs7-mime", "application/pkcs7"); err != nil {
		return nil, fmt.Errorf("%s: %w", a.op, err)
	}
	der, err := decode(a.Body)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("%s: read the answer: %w", a.op, err))
	}
	certs, err := parseCertsOnly(der)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("%s: read the answer: %w", a.op, err))
	}
	return certs, nil
}

func (a *answer) wishes() (wishes, error) {
	if err := a.want("application/csrattrs"); err != nil {
		return wishes{}, err
	}
	der, err := decode(a.Body)
	if err != nil {
		return wishes{}, err
	}
	return parseWishes(der)
}

// want holds the content type against what the operation answers with.
func (a *answer) want(types ...string) error {
	if err := a.Portal(); err != nil {
		return err
	}
	if t := a.MediaType(); !slices.Contains(types, t) {
		return fault.As(fault.Permanent, fmt.Errorf("the answer is of type %q, not %s", t, types[0]))
	}
	return nil
}

// decode undoes the transfer encoding: base64 with or without line breaks, whatever Content-Transfer-Encoding says
// (RFC 8951, 3). Servers were also seen to send PEM, and plain DER.
func decode(body []byte) ([]byte, error) {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return nil, errors.New("it is empty")
	case bytes.HasPrefix(body, []byte("-----BEGIN")):
		block, _ := pem.Decode(body)
		if block == nil || block.Type != "PKCS7" && block.Type != "CMS" {
			return nil, errors.New("it is PEM, but not PKCS7")
		}
		return block.Bytes, nil
	case body[0] == 0x30 && len(body) > 1 && body[1] >= 0x80: // base64 of DER begins with M; '0' is base64 too
		return body, nil
	}
	text := bytes.Join(bytes.Fields(body), nil)
	der := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, err := base64.RawStdEncoding.Decode(der, bytes.TrimRight(text, "="))
	if err != nil {
		return nil, fmt.Errorf("it is not base64: %w", err)
	}
	return der[:n], nil
}
