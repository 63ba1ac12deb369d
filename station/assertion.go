package station

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // the thumbprint of RS256 assertions; it protects nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Assertion shows Entra that a program holds the key of its certificate ("Microsoft identity platform application
// authentication certificate credentials", Microsoft Learn). The key may be in hardware.
type Assertion struct {
	Client      string // ID of the application
	Audience    string // the token endpoint
	Certificate *x509.Certificate
	Key         crypto.Signer
	// Algorithm is PS256, with x5t#S256, when empty. RS256, with x5t, is for hardware that cannot pad PSS with a salt as
	// long as the digest; whether Entra takes it for a new application is not confirmed.
	Algorithm string
}

// assertionLife is what the documentation asks for: 5 to 10 minutes.
const assertionLife = 10 * time.Minute

// Check says what is wrong with a, or nil.
func (a Assertion) Check() error {
	if _, ok := a.Key.Public().(*rsa.PublicKey); !ok {
		return fault.AskOperator(errors.New("entra: the certificate of the application has no RSA key"), "Entra documents RSA only: make one of RSA, and register it")
	}
	if !sameKey(a.Certificate.PublicKey, a.Key.Public()) {
		return fault.AskOperator(errors.New("entra: the certificate of the application is for another key"), "name a certificate and its own key")
	}
	if a.Algorithm != "" && a.Algorithm != "PS256" && a.Algorithm != "RS256" {
		return fault.AskOperator(fmt.Errorf("entra: unknown algorithm %q", a.Algorithm), "choose PS256 or RS256")
	}
	return nil
}

// Make returns an assertion that is good for ten minutes. It may be called side by side.
func (a Assertion) Make(context.Context) (string, error) {
	now := time.Now()
	header := map[string]string{"typ": "JWT", "alg": "PS256"}
	if a.Algorithm == "RS256" {
		digest := sha1.Sum(a.Certificate.Raw)
		header["alg"], header["x5t"] = "RS256", base64.RawURLEncoding.EncodeToString(digest[:])
	} else {
		digest := sha256.Sum256(a.Certificate.Raw)
		header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(digest[:])
	}
	claims := map[string]any{"aud": a.Audience, "iss": a.Client, "sub": a.Client, "jti": newUUID(),
		"nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix()}
	text := part(header) + "." + part(claims)
	signature, err := a.sign([]byte(text))
	if err != nil {
		return "", fmt.Errorf("entra: sign the assertion: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// part cannot fail for maps of strings and numbers.
func part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// sign believes no padding that it has not checked: TPMs before revision 1.59 take the longest salt there is (TPM 2.0
// Part 1, annex B.7), and Entra takes one of 32 bytes (RFC 7518, 3.5).
func (a Assertion) sign(text []byte) ([]byte, error) {
	digest := sha256.Sum256(text)
	if a.Algorithm == "RS256" {
		return a.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	signature, err := a.Key.Sign(rand.Reader, digest[:], pss)
	if err != nil {
		return nil, err
	}
	if err := rsa.VerifyPSS(a.Key.Public().(*rsa.PublicKey), crypto.SHA256, digest[:], signature, pss); err != nil {
		return nil, fault.AskOperator(fmt.Errorf("the hardware pads RSA-PSS with another salt: %w", err), "set --entra-alg RS256")
	}
	return signature, nil
}

// newUUID is a random UUID (RFC 9562, 5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read returns no error (Go 1.24)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
