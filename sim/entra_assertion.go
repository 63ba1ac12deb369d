package sim

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	entraSkew     = 5 * time.Minute // by which clocks may differ
)

// badAssertion is invalid_client with one of Entra's codes.
func badAssertion(code int, text string) error {
	return &entraError{401, "invalid_client", code, text}
}

// assertion judges a client's certificate ("Microsoft identity platform application authentication certificate
// credentials").
func (h *entraHandler) assertion(r *http.Request, app *entraApp, t EntraTemper) error {
	if given := r.PostForm.Get("client_assertion_type"); given != assertionType {
		return badAssertion(50027, "client_assertion_type is "+given)
	}
	j, err := parseJWS(r.PostForm.Get("client_assertion"))
	if err != nil {
		return badAssertion(50027, "JWT token is invalid or malformed: "+err.Error())
	}
	if err := app.signed(j, t); err != nil {
		return err
	}
	now := time.Now().Add(t.ClockOffset)
	if err := j.assertsClient(app.ClientID, r, now); err != nil {
		return err
	}
	if h.cloud.replayed(h.cloud.entra.seen, app.ClientID+" "+j.claim("jti"), now) && !t.AllowReplay {
		return badAssertion(50027, "the jti was seen before") // no code for this is documented
	}
	return nil
}

// assertsClient holds the claims against what they must be.
func (j *jws) assertsClient(client string, r *http.Request, now time.Time) error {
	exp, err := j.moment("exp")
	if err != nil {
		return badAssertion(50027, err.Error())
	}
	nbf, err := j.moment("nbf")
	if err != nil {
		return badAssertion(50027, err.Error())
	}
	switch {
	case j.claim("iss") != client || j.claim("sub") != client:
		return badAssertion(700021, "iss and sub must be the client ID")
	case j.claim("aud") != "https://"+r.Host+r.URL.Path:
		return badAssertion(700023, "the audience "+j.claim("aud")+" is not this endpoint")
	case j.claim("jti") == "":
		return badAssertion(50027, "jti is missing")
	case now.After(exp.Add(entraSkew)) || now.Before(nbf.Add(-entraSkew)) || !exp.After(nbf):
		return badAssertion(700024, "client assertion is not within its valid time range")
	}
	return nil
}

// signed says why j is not signed by the key of a certificate of the program, or nil.
func (a *entraApp) signed(j *jws, t EntraTemper) error {
	verify, thumb, err := j.method(t)
	if err != nil {
		return err
	}
	for _, x := range a.Certificates {
		key, ok := x.PublicKey.(*rsa.PublicKey)
		if !ok || !thumb(x) {
			continue
		}
		if time.Since(a.since[thumbprint(x)]) < t.Propagation {
			break
		}
		if err := verify(key); err != nil {
			return badAssertion(700027, "client assertion failed signature validation: "+err.Error())
		}
		return nil
	}
	return badAssertion(700027, "the certificate with identifier used to sign the client assertion is not registered on application")
}

// method is how the header says that it is signed, and with which certificate.
func (j *jws) method(t EntraTemper) (func(*rsa.PublicKey) error, func(*x509.Certificate) bool, error) {
	if typ := j.head("typ"); !strings.EqualFold(typ, "JWT") {
		return nil, nil, badAssertion(50027, "typ is "+typ)
	}
	switch alg := j.head("alg"); {
	case alg == "PS256" && j.head("x5t#S256") != "":
		return j.verifyPS256, func(x *x509.Certificate) bool {
			sum := sha256.Sum256(x.Raw)
			return sameBase64(j.head("x5t#S256"), sum[:])
		}, nil
	case alg == "RS256" && j.head("x5t") != "" && t.AllowRS256:
		return j.verifyRS256, func(x *x509.Certificate) bool {
			sum := sha1.Sum(x.Raw)
			return sameBase64(j.head("x5t"), sum[:])
		}, nil
	default:
		return nil, nil, badAssertion(700027, "algorithm "+alg+" with the thumbprints in this header is not supported")
	}
}

// sameBase64 takes base64url, as documented, and padded standard base64, as MSAL for Go writes it.
func sameBase64(s string, want []byte) bool {
	return s == base64.RawURLEncoding.EncodeToString(want) || s == base64.StdEncoding.EncodeToString(want)
}

// replayed remembers an identifier for a day, and reports whether it was there.
func (c *Cloud) replayed(seen map[string]time.Time, id string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for old, at := range seen {
		if now.Sub(at) > 24*time.Hour {
			delete(seen, old)
		}
	}
	_, again := seen[id]
	seen[id] = now
	return again
}
