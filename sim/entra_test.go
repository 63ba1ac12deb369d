package sim_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

const (
	management = "https://management.core.windows.net/.default"
	entraURL   = "https://" + sim.EntraHost
)

// reach is an HTTP client that trusts the cloud's servers and reaches them in memory.
func reach(t *testing.T, c *sim.Cloud) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.RootsPEM())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return c.Dial(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// program is a registered one with an RSA certificate.
func program(t *testing.T, c *sim.Cloud) (sim.EntraApp, *rsa.PrivateKey) {
	t.Helper()
	key := rsaKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "station"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.EntraApp(sim.EntraApp{Name: "station", Certificates: []*x509.Certificate{x}}), key
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func headOf(app sim.EntraApp) map[string]any {
	sum := sha256.Sum256(app.Certificates[0].Raw)
	return map[string]any{"typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
}

func claimsOf(app sim.EntraApp, audience string) map[string]any {
	now := time.Now()
	return map[string]any{"aud": audience, "iss": app.ClientID, "sub": app.ClientID, "jti": rand.Text(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
}

// sign makes a JSON web token with a salt of 32 bytes, or of that many as alg has behind a slash.
func sign(t *testing.T, key *rsa.PrivateKey, alg string, header, claims map[string]any) string {
	t.Helper()
	alg, salt, long := strings.Cut(alg, "/")
	header["alg"] = alg
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	var options crypto.SignerOpts = crypto.SHA256
	if alg == "PS256" {
		pss := &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}
		if long {
			fmt.Sscan(salt, &pss.SaltLength)
		}
		options = pss
	}
	signature, err := key.Sign(rand.Reader, sum[:], options)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// askEntra posts a form and returns the status, and the AADSTS code or the token.
func askEntra(t *testing.T, c *sim.Cloud, tenant string, form url.Values) (status, code int, token string) {
	t.Helper()
	response, err := reach(t, c).PostForm(entraURL+"/"+tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Token  string `json:"access_token"`
		Codes  []int  `json:"error_codes"`
		Reason string `json:"error_description"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if len(answer.Codes) == 1 && strings.HasPrefix(answer.Reason, fmt.Sprintf("AADSTS%d: ", answer.Codes[0])) {
		code = answer.Codes[0]
	}
	return response.StatusCode, code, answer.Token
}

func TestEntraSaysNoWithTheCodeThatFits(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		app, key := program(t, c)
		tenant := c.Entra().Tenant
		audience := entraURL + "/" + tenant + "/oauth2/v2.0/token"
		good := func() url.Values {
			return url.Values{"grant_type": {"client_credentials"}, "client_id": {app.ClientID}, "scope": {management},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				"client_assertion":      {sign(t, key, "PS256", headOf(app), claimsOf(app, audience))}}
		}
		replay := good()
		for _, c2 := range []struct {
			name   string
			change func(url.Values)
			status int
			code   int
		}{
			{"all is well", func(url.Values) {}, 200, 0},
			{"another grant", func(f url.Values) { f.Set("grant_type", "password") }, 400, 70003},
			{"a scope without .default", func(f url.Values) { f.Set("scope", "https://management.core.windows.net/user") }, 400, 1002012},
			{"an unknown program", func(f url.Values) { f.Set("client_id", "e1d1a3c4-0000-4000-8000-000000000000") }, 400, 700016},
			{"no credential", func(f url.Values) { f.Del("client_assertion") }, 401, 7000218},
			{"a secret that it has not", func(f url.Values) { f.Del("client_assertion"); f.Set("client_secret", "") }, 401, 7000218},
			{"a wrong secret", func(f url.Values) { f.Del("client_assertion"); f.Set("client_secret", "x") }, 401, 7000215},
			{"rubbish", func(f url.Values) { f.Set("client_assertion", "a.b.c") }, 401, 50027},
			{"a salt as long as fits", func(f url.Values) {
				f.Set("client_assertion", sign(t, key, "PS256/222", headOf(app), claimsOf(app, audience)))
			}, 401, 700027},
			{"RS256", func(f url.Values) {
				f.Set("client_assertion", sign(t, key, "RS256", headOf(app), claimsOf(app, audience)))
			}, 401, 700027},
			{"another key", func(f url.Values) {
				f.Set("client_assertion", sign(t, rsaKey(t), "PS256", headOf(app), claimsOf(app, audience)))
			}, 401, 700027},
			{"another audience", func(f url.Values) {
				f.Set("client_assertion", sign(t, key, "PS256", headOf(app), claimsOf(app, audience+"/")))
			}, 401, 700023},
			{"an expired one", func(f url.Values) {
				claims := claimsOf(app, audience)
				claims["nbf"], claims["exp"] = time.Now().Add(-time.Hour).Unix(), time.Now().Add(-6*time.Minute).Unix()
				f.Set("client_assertion", sign(t, key, "PS256", headOf(app), claims))
			}, 401, 700024},
			{"another subject", func(f url.Values) {
				claims := claimsOf(app, audience)
				claims["sub"] = c.Entra().App.ClientID
				f.Set("client_assertion", sign(t, key, "PS256", headOf(app), claims))
			}, 401, 700021},
			{"the same once", func(f url.Values) { f.Set("client_assertion", replay.Get("client_assertion")) }, 200, 0},
			{"the same twice", func(f url.Values) { f.Set("client_assertion", replay.Get("client_assertion")) }, 401, 50027},
		} {
			form := good()
			c2.change(form)
			status, code, token := askEntra(t, c, tenant, form)
			if status != c2.status || code != c2.code || (token != "") != (status == 200) {
				t.Errorf("%s: %d AADSTS%d, want %d AADSTS%d", c2.name, status, code, c2.status, c2.code)
			}
		}
		if status, code, _ := askEntra(t, c, "common", good()); status != 400 || code != 90002 {
			t.Errorf("another tenant: %d AADSTS%d", status, code)
		}
	})
}

func TestEntraCanBeBusyAndSlowToLearn(t *testing.T) {
	inBubble(t, sim.Temper{Entra: sim.EntraTemper{Status: 503, StatusTimes: 1, RetryAfter: time.Minute, Propagation: 5 * time.Minute, AllowRS256: true}}, func(t *testing.T, c *sim.Cloud) {
		app, key := program(t, c)
		audience := entraURL + "/" + c.Entra().Tenant + "/oauth2/v2.0/token"
		ask := func() (int, int) {
			status, code, _ := askEntra(t, c, c.Entra().Tenant, url.Values{"grant_type": {"client_credentials"}, "client_id": {app.ClientID}, "scope": {management},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				"client_assertion":      {sign(t, key, "PS256", headOf(app), claimsOf(app, audience))}})
			return status, code
		}
		if status, _ := ask(); status != 503 {
			t.Errorf("first: %d", status)
		}
		if status, code := ask(); status != 401 || code != 700027 {
			t.Errorf("a new certificate: %d AADSTS%d", status, code)
		}
		time.Sleep(5 * time.Minute)
		if status, code := ask(); status != 200 {
			t.Errorf("five minutes later: %d AADSTS%d", status, code)
		}
		if n := c.EntraCount(app.ClientID); n != 3 {
			t.Errorf("%d requests counted", n)
		}
	})
}

func TestTheMachinesIdentityNeedsItsHeader(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		const path = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.core.windows.net/"
		for name, want := range map[string]struct {
			query, header, forwarded string
			status                   int
		}{
			"as it should be":  {"", "true", "", 200},
			"no header":        {"", "", "", 400},
			"forwarded":        {"", "true", "203.0.113.9", 400},
			"another identity": {"&client_id=e1d1a3c4-0000-4000-8000-000000000000", "true", "", 400},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path+want.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Metadata", want.header)
			if want.forwarded != "" {
				r.Header.Set("X-Forwarded-For", want.forwarded)
			}
			response, err := reach(t, c).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != want.status {
				t.Errorf("%s: %s", name, response.Status)
			}
		}
	})
}
