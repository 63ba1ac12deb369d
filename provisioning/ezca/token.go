package ezca

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1" // EZCA's name for a certificate, not a proof of anything
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// backdate is by how much a token begins before it was made: service and device never have quite the same time, and
// Keytos' clients, which take the present, are refused where theirs is ahead.
const backdate = time.Minute

// validity is when a token is good.
type validity struct{ from, to time.Time }

// around is a validity of length life for a server whose clock says now.
func around(now time.Time, life time.Duration) validity {
	from := now.Add(-backdate).Truncate(time.Second)
	return validity{from, from.Add(life)}
}

func (v validity) holds(now time.Time) bool { return !now.Before(v.from) && now.Before(v.to) }

type header struct {
	Algorithm  string `json:"alg"`
	Type       string `json:"typ"`
	Thumbprint string `json:"x5t"`
}

type claims struct {
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	From     int64  `json:"nbf"`
	To       int64  `json:"exp"`
}

// mint returns a token that says "who has the key of cert asks this": a JWS with RS256 (RFC 7515). Its x5t is not that
// of the RFC, but the SHA-1 in upper-case hexadecimal digits (EZCAClient, CreateRSAJWTToken; ezca-go, certificates.go).
//
// It is good for anything that the certificate may do at EZCA, whoever shows it: it is made for one request, and told to
// nobody else.
func mint(cert *x509.Certificate, key crypto.Signer, audience string, v validity) (string, error) {
	thumbprint := sha1.Sum(cert.Raw)
	text, err := encode(header{"RS256", "JWT", fmt.Sprintf("%X", thumbprint)}, claims{audience, newID(), v.from.Unix(), v.to.Unix()})
	if err != nil {
		return "", fault.As(fault.Permanent, err)
	}
	digest := sha256.Sum256([]byte(text))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", fault.As(fault.Of(err), fmt.Errorf("sign the token: %w", err))
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func encode(h header, c claims) (string, error) {
	first, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	second, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(first) + "." + base64.RawURLEncoding.EncodeToString(second), nil
}

// newID is a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
