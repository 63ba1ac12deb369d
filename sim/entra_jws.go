package sim

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxJWS is how long a token may be.
const maxJWS = 16 << 10

// jws is a signed token in its compact form (RFC 7515, 7.1).
type jws struct {
	header, claims map[string]any
	signed         []byte
	signature      []byte
}

func parseJWS(s string) (*jws, error) {
	if len(s) > maxJWS {
		return nil, fmt.Errorf("a token of %d characters", len(s))
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("a token of %d parts, not 3", len(parts))
	}
	j := &jws{signed: []byte(parts[0] + "." + parts[1])}
	var err error
	if j.header, err = parseClaims(parts[0]); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if j.claims, err = parseClaims(parts[1]); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	j.signature, err = base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || strings.ContainsAny(parts[2], "\r\n") || len(j.signature) == 0 {
		return nil, errors.New("signature: not base64url")
	}
	return j, nil
}

func parseClaims(part string) (map[string]any, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("not base64url")
	}
	var members map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&members); err != nil {
		return nil, err
	}
	if d.More() || members == nil {
		return nil, errors.New("not one JSON object")
	}
	return members, nil
}

func (j *jws) head(name string) string  { s, _ := j.header[name].(string); return s }
func (j *jws) claim(name string) string { s, _ := j.claims[name].(string); return s }

// moment is a claim in whole seconds since 1970.
func (j *jws) moment(name string) (time.Time, error) {
	n, ok := j.claims[name].(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("%s is missing, or no number", name)
	}
	seconds, err := n.Int64()
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is %s, not whole seconds", name, n)
	}
	return time.Unix(seconds, 0), nil
}

// only says which member is not one of names, or nil.
func only(members map[string]any, names ...string) error {
	for m := range members {
		found := false
		for _, n := range names {
			found = found || m == n
		}
		if !found {
			return fmt.Errorf("%s does not belong here", m)
		}
	}
	return nil
}

// verifyRS256 holds the signature against RSASSA-PKCS1-v1_5 with SHA-256.
func (j *jws) verifyRS256(key *rsa.PublicKey) error {
	sum := sha256.Sum256(j.signed)
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], j.signature)
}

// verifyPS256 holds the signature against RSASSA-PSS with SHA-256 and a salt of 32 bytes, no more and no less (RFC 7518,
// 3.5): some TPMs take the longest salt that fits.
func (j *jws) verifyPS256(key *rsa.PublicKey) error {
	sum := sha256.Sum256(j.signed)
	return rsa.VerifyPSS(key, crypto.SHA256, sum[:], j.signature, &rsa.PSSOptions{SaltLength: sha256.Size})
}
