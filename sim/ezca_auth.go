package sim

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// ezcaMaxToken is how long a certificate's token lives in Keytos' clients. A longer one is refused.
const ezcaMaxToken = 30 * time.Minute

var (
	upperSHA1 = regexp.MustCompile(`^[0-9A-F]{40}$`)
	anySHA1   = regexp.MustCompile(`^[0-9A-Fa-f]{40}$`)
	anySHA256 = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

func unauthorized(format string, a ...any) error {
	return &ezcaError{http.StatusUnauthorized, fmt.Sprintf(format, a...)}
}

// person is who asks with a bearer token: one of Entra for Azure's management, as any, or a one-use token.
func (h *ezcaHandler) person(r *http.Request) (principal, error) {
	text := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	h.cloud.mu.Lock()
	oneUse := h.cloud.ezca.tokens[text]
	h.cloud.mu.Unlock()
	if oneUse {
		return principal{id: text, name: "a one-use token", every: true}, nil
	}
	t, err := h.cloud.bearer(r, "https://management.core.windows.net", "https://management.azure.com")
	if err != nil {
		return principal{}, unauthorized("%v", err)
	}
	return t.holder, nil
}

// spend uses a one-use token up. It reports false where another request was faster.
func (c *Cloud) spend(p principal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.every {
		return true
	}
	was := c.ezca.tokens[p.id]
	delete(c.ezca.tokens, p.id)
	return was
}

// certificateOf is the certificate in whose name r comes: by a token that its key signed, the way in which EZCA lets a
// certificate renew and revoke itself.
func (h *ezcaHandler) certificateOf(r *http.Request, t EZCATemper) (*x509.Certificate, error) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, unauthorized("no bearer token")
	}
	j, err := parseJWS(text)
	if err != nil {
		return nil, unauthorized("the token is malformed: %v", err)
	}
	x, err := h.cloud.signedForEZCA(j, t)
	if err != nil {
		return nil, unauthorized("%v", err)
	}
	now := time.Now().Add(t.ClockOffset)
	if err := j.forEZCA(t, now); err != nil {
		return nil, unauthorized("%v", err)
	}
	if err := h.cloud.goodAtEZCA(x, t, now); err != nil {
		return nil, unauthorized("%v", err)
	}
	if h.cloud.replayed(h.cloud.ezca.seen, j.claim("jti"), now) && !t.AllowReplay {
		return nil, unauthorized("the jti was seen before")
	}
	return x, nil
}

// signedForEZCA finds the certificate that the header names, whose key must have signed.
func (c *Cloud) signedForEZCA(j *jws, t EZCATemper) (*x509.Certificate, error) {
	if err := only(j.header, "alg", "typ", "x5t"); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if j.head("alg") != "RS256" || j.head("typ") != "JWT" {
		return nil, fmt.Errorf("alg %q and typ %q, not RS256 and JWT", j.head("alg"), j.head("typ"))
	}
	if !upperSHA1.MatchString(j.head("x5t")) && !t.AllowBase64 {
		return nil, fmt.Errorf("x5t %q is not SHA-1 in 40 upper-case hexadecimal digits", j.head("x5t"))
	}
	x := c.certificateNamed(j.head("x5t"))
	if x == nil {
		return nil, fmt.Errorf("no certificate with thumbprint %s", j.head("x5t"))
	}
	key, ok := x.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the certificate's key is not RSA")
	}
	if err := j.verifyRS256(key); err != nil {
		return nil, errors.New("the token is not signed by the certificate's key")
	}
	return x, nil
}

// certificateNamed takes hexadecimal digits, or base64url.
func (c *Cloud) certificateNamed(x5t string) *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, all := range c.ezca.ca.issued {
		for _, x := range all {
			if ezcaThumbprint(x) == x5t || base64SHA1(x) == x5t {
				return x
			}
		}
	}
	return nil
}

// forEZCA holds the claims against what they must be: aud, jti, nbf and exp, and no others.
func (j *jws) forEZCA(t EZCATemper, now time.Time) error {
	if err := only(j.claims, "aud", "jti", "nbf", "exp"); err != nil {
		return fmt.Errorf("claims: %w", err)
	}
	if aud := j.claim("aud"); aud != "https://ezca.io" && aud != "https://agent.keytos.io" {
		return fmt.Errorf("the audience is %q", aud)
	}
	if j.claim("jti") == "" {
		return errors.New("jti is missing")
	}
	nbf, err := j.moment("nbf")
	if err != nil {
		return err
	}
	exp, err := j.moment("exp")
	if err != nil {
		return err
	}
	switch life := exp.Sub(nbf); {
	case life <= 0 || life > ezcaMaxToken || life < t.TokenLife:
		return fmt.Errorf("the token lives %v", life)
	case nbf.After(now.Add(t.Leeway)):
		return fmt.Errorf("the token is not valid before %s, here it is %s", nbf.UTC(), now.UTC())
	case !exp.After(now.Add(-t.Leeway)):
		return fmt.Errorf("the token expired at %s, here it is %s", exp.UTC(), now.UTC())
	}
	return nil
}

// goodAtEZCA says why a certificate may not speak for itself any more, or nil.
func (c *Cloud) goodAtEZCA(x *x509.Certificate, t EZCATemper, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.ezca.ca.revoked[x.SerialNumber.String()]:
		return errors.New("the certificate is revoked")
	case now.Before(x.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", x.NotBefore.UTC())
	case now.After(x.NotAfter) && !t.RenewExpired:
		return fmt.Errorf("the certificate expired at %s", x.NotAfter.UTC())
	}
	return c.outlived(x)
}
