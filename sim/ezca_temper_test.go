package sim_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestEZCAsTemper(t *testing.T) {
	key := rsaKey(t)
	for name, one := range map[string]struct {
		temper sim.EZCATemper
		path   string
		check  func(r *http.Response, body string) bool
	}{
		"throttled": {sim.EZCATemper{Status: 429, RetryAfter: 90 * time.Second}, "V3", func(r *http.Response, _ string) bool {
			return r.StatusCode == 429 && r.Header.Get("Retry-After") == "90"
		}},
		"a date":             {sim.EZCATemper{Status: 503, RetryAfter: time.Minute, RetryDate: true}, "V3", func(r *http.Response, _ string) bool { return strings.HasSuffix(r.Header.Get("Retry-After"), "GMT") }},
		"no V3":              {sim.EZCATemper{NoV3: true}, "V3", func(r *http.Response, _ string) bool { return r.StatusCode == 404 }},
		"created":            {sim.EZCATemper{Created: true}, "V3", func(r *http.Response, _ string) bool { return r.StatusCode == 201 }},
		"a page":             {sim.EZCATemper{Answer: sim.EZCAPage}, "V3", func(r *http.Response, b string) bool { return r.StatusCode == 200 && strings.HasPrefix(b, "<!DOCTYPE") }},
		"error with 200":     {sim.EZCATemper{Answer: sim.EZCAError}, "V3", func(r *http.Response, b string) bool { return r.StatusCode == 200 && strings.HasPrefix(b, "Error: ") }},
		"failure with 200":   {sim.EZCATemper{Answer: sim.EZCAFailure}, "", func(r *http.Response, b string) bool { return strings.Contains(b, `"Success":false`) }},
		"encoded twice":      {sim.EZCATemper{Answer: sim.EZCADouble}, "V3", func(_ *http.Response, b string) bool { return strings.HasPrefix(b, `"{\"CertificatePEM`) }},
		"an empty root":      {sim.EZCATemper{Answer: sim.EZCAEmptyRoot}, "V3", func(_ *http.Response, b string) bool { return strings.Contains(b, `"RootCertificate":""`) }},
		"no root":            {sim.EZCATemper{Answer: sim.EZCANoRoot}, "V3", func(_ *http.Response, b string) bool { return !strings.Contains(b, "RootCertificate") }},
		"no armour":          {sim.EZCATemper{Answer: sim.EZCANoArmour}, "V2", func(_ *http.Response, b string) bool { return strings.HasPrefix(b, "MII") }},
		"CR LF":              {sim.EZCATemper{Answer: sim.EZCACRLF}, "V2", func(_ *http.Response, b string) bool { return strings.Contains(b, "-----\r\n") }},
		"a chain":            {sim.EZCATemper{Answer: sim.EZCAChain}, "V2", func(_ *http.Response, b string) bool { return strings.Count(b, "BEGIN") == 2 }},
		"for one device":     {sim.EZCATemper{Only: "gw-9", Status: 500}, "V3", func(r *http.Response, _ string) bool { return r.StatusCode == 200 }},
		"too early":          {sim.EZCATemper{TooEarly: time.Hour}, "V3", func(r *http.Response, b string) bool { return r.StatusCode == 400 && strings.Contains(b, "too early") }},
		"not the same key":   {sim.EZCATemper{RefuseSameKey: true}, "V3", func(r *http.Response, _ string) bool { return r.StatusCode == 400 }},
		"long tokens wanted": {sim.EZCATemper{TokenLife: 30 * time.Minute}, "V3", func(r *http.Response, _ string) bool { return r.StatusCode == 401 }},
		"its clock is slow": {sim.EZCATemper{ClockOffset: -time.Minute}, "V3", func(r *http.Response, b string) bool {
			return r.StatusCode == 401 && strings.Contains(b, "not valid before")
		}},
		"and it is lenient": {sim.EZCATemper{ClockOffset: -time.Minute, Leeway: 5 * time.Minute}, "V3", func(r *http.Response, _ string) bool { return r.StatusCode == 200 }},
		"an exact type":     {sim.EZCATemper{ExactType: true}, "V3", func(r *http.Response, _ string) bool { return r.StatusCode == 415 }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
				mine := ezcaCredential(t, c, "gw-1", key)
				c.SetTemper(sim.Temper{EZCA: one.temper})
				var body any = renewRequest(t, mine.chain[0], mine.key)
				if one.path == "" {
					body = body.(map[string]any)["Payload"]
				}
				if r, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificate"+one.path, mine.ezcaToken(t), body); !one.check(r, text) {
					t.Errorf("%s %v %.300s", r.Status, r.Header, text)
				}
			})
		})
	}
}

func TestEZCASpoilsCertificates(t *testing.T) {
	key := rsaKey(t)
	for answer, wrong := range map[sim.EZCAAnswer]func(x, old *x509.Certificate, roots []*x509.Certificate) bool{
		sim.EZCAWrongKey: func(x, old *x509.Certificate, _ []*x509.Certificate) bool {
			return !bytes.Equal(x.RawSubjectPublicKeyInfo, old.RawSubjectPublicKeyInfo)
		},
		sim.EZCAWrongSubject: func(x, _ *x509.Certificate, _ []*x509.Certificate) bool { return x.Subject.CommonName != "gw-1" },
		sim.EZCALostNames:    func(x, _ *x509.Certificate, _ []*x509.Certificate) bool { return len(x.DNSNames) == 0 },
		sim.EZCAExpired:      func(x, _ *x509.Certificate, _ []*x509.Certificate) bool { return time.Now().After(x.NotAfter) },
		sim.EZCAFuture:       func(x, _ *x509.Certificate, _ []*x509.Certificate) bool { return time.Now().Before(x.NotBefore) },
		sim.EZCAOldOne:       func(x, old *x509.Certificate, _ []*x509.Certificate) bool { return x.Equal(old) },
		sim.EZCAWrongIssuer: func(x, _ *x509.Certificate, _ []*x509.Certificate) bool {
			return x.Issuer.CommonName != "Sim EZCA Issuing CA"
		},
	} {
		inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
			mine := ezcaCredential(t, c, "gw-1", key)
			c.SetTemper(sim.Temper{EZCA: sim.EZCATemper{Answer: answer, AnswerTimes: 1}})
			for n, want := range []bool{true, false} {
				_, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV2", mine.ezcaToken(t), renewRequest(t, mine.chain[0], mine.key))
				if x := fromPEM(t, text); wrong(x, mine.chain[0], c.EZCARoots()) != want {
					t.Errorf("answer %d, request %d: %v", answer, n+1, x.Subject)
				}
			}
		})
	}
}

func TestEZCALosesAnAnswerAndKeepsTheCertificate(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		mine := ezcaCredential(t, c, "gw-1", rsaKey(t))
		c.SetTemper(sim.Temper{EZCA: sim.EZCATemper{LostResult: 1}})
		b, err := json.Marshal(renewRequest(t, mine.chain[0], mine.key))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ezcaURL+"/api/Certificates/RenewCertificateV3", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+mine.ezcaToken(t))
		if response, err := reach(t, c).Do(r); err == nil {
			t.Errorf("the answer came: %s", response.Status)
		}
		if n := len(c.EZCAIssued("gw-1")); n != 2 {
			t.Errorf("%d certificates", n)
		}
		if response, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", mine.ezcaToken(t), b); response.StatusCode != 200 {
			t.Errorf("again: %s %s", response.Status, text)
		}
	})
}

func TestEZCAsESTAddressIssuesFromTheSameCA(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		for name, key := range map[string]crypto.Signer{"rsa": rsaKey(t), "ec": newKey(t, elliptic.P256())} {
			boot, err := c.EZCABootstrap(name, key.Public(), 24*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			e := atEST(t, c, credential{key, boot})
			e.base = ezcaURL + strings.TrimSuffix(c.EZCAESTPath(), "/.well-known/est")
			for _, op := range []string{"simpleenroll", "simplereenroll"} {
				status, x, text := e.enroll(op, named(name), key)
				if status != 200 || x.Issuer.CommonName != "Sim EZCA Issuing CA" {
					t.Errorf("%s %s: %d %s", name, op, status, text)
				}
			}
			if n := len(c.EZCAIssued(name)); n != 3 {
				t.Errorf("%s: %d certificates", name, n)
			}
			c.EZCARevoke(name)
			if status, _, text := e.enroll("simplereenroll", named(name), key); status != 403 || !strings.Contains(text, "revoked") {
				t.Errorf("%s, revoked: %d %s", name, status, text)
			}
		}
		key := newKey(t, elliptic.P256())
		factory := bootstrap(t, c, "gw-1")
		e := atEST(t, c, factory)
		e.base = ezcaURL + strings.TrimSuffix(c.EZCAESTPath(), "/.well-known/est")
		if status, _, text := e.enroll("simpleenroll", named("gw-1"), key); status != 403 {
			t.Errorf("the factory's certificate: %d %s", status, text)
		}
		e.base = ezcaURL + "/EST/" + c.EZCA().Template + "/" + c.EZCA().CA + "/eastus"
		if status, _, _ := e.enroll("simpleenroll", named("gw-1"), key); status != 404 {
			t.Errorf("another CA's path: %d", status)
		}
	})
}

func TestACertificateOfEZCAIsGoodAtTheHubUntilItIsMadeToExpire(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		mine := ezcaCredential(t, c, "gw-1", newKey(t, elliptic.P256()))
		c.CreateDevice("gw-1", sim.Auth{CA: c.EZCARoots()[0]})
		atHub(t, c, "gw-1", mine)
		c.EZCARevoke("gw-1")
		atHub(t, c, "gw-1", mine) // IoT Hub looks at no revocation
		c.ExpireDevice("gw-1")
		if code := knock(t, c, mine, hello{id: "gw-1"}); code != 5 {
			t.Errorf("CONNACK %d", code)
		}
		wantReason(t, c, "expired")
	})
}

func TestEZCARollsItsRootOver(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		mine := ezcaCredential(t, c, "gw-1", rsaKey(t))
		old := c.EZCARoots()[0]
		if err := c.EZCARollover(); err != nil {
			t.Fatal(err)
		}
		for _, one := range []struct {
			temper sim.EZCATemper
			root   *x509.Certificate
		}{{sim.EZCATemper{}, c.EZCARoots()[0]}, {sim.EZCATemper{OldIssuer: true}, old}} {
			c.SetTemper(sim.Temper{EZCA: one.temper})
			_, text := ezcaSend(t, c, http.MethodPost, "/api/Certificates/RenewCertificateV3", mine.ezcaToken(t), renewRequest(t, mine.chain[0], mine.key))
			var chain chainAnswer
			if err := json.Unmarshal([]byte(text), &chain); err != nil {
				t.Fatalf("%v %s", err, text)
			}
			if root := fromPEM(t, chain.RootCertificate); !root.Equal(one.root) || fromPEM(t, chain.CertificatePEM).CheckSignatureFrom(fromPEM(t, chain.IssuingCACertificate)) != nil {
				t.Errorf("%+v: another root, or a chain that does not hold", one.temper)
			}
		}
		if n := len(c.EZCAIssuers()); n != 6 {
			t.Errorf("%d authorities: two issuing CAs, two roots, two crossed", n)
		}
	})
}

func TestSilenceOfEZCAEndsWhenTheDeviceGivesUp(t *testing.T) {
	inBubble(t, sim.Temper{EZCA: sim.EZCATemper{Silent: 1}}, func(t *testing.T, c *sim.Cloud) {
		b, err := json.Marshal(issueRequest(t, c, "gw-1", newKey(t, elliptic.P256())))
		if err != nil {
			t.Fatal(err)
		}
		client := reach(t, c)
		client.Timeout = time.Minute
		start := time.Now()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ezcaURL+"/api/CA/RequestSSLCertificateV2", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Do(r); err == nil || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if r, text := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", c.EZCAToken(), b); r.StatusCode != 200 {
			t.Errorf("%s %s", r.Status, text)
		}
	})
}

func TestAFaultHookStrikesAtEZCAAndEntra(t *testing.T) {
	for _, p := range []sim.Point{sim.AtEZCA, sim.AtEZCAInfo, sim.AtEZCAIssued, sim.AtEntra} {
		temper := sim.Temper{Fault: func(at sim.Point, _ string, n int) error {
			if at == p && n == 1 {
				return &sim.Refusal{Code: 503, Message: "as the hook says", RetryAfter: 30 * time.Second}
			}
			return nil
		}}
		inBubble(t, temper, func(t *testing.T, c *sim.Cloud) {
			for _, want := range []int{503, 200} {
				if got := askOnce(t, c, p); got != want {
					t.Errorf("%s: %d, want %d", p, got, want)
				}
			}
			if n := c.Refusals(""); n != 1 {
				t.Errorf("%s: %d refusals", p, n)
			}
		})
	}
}

func TestEZCACountsWhoDoesNotWait(t *testing.T) {
	inBubble(t, sim.Temper{EZCA: sim.EZCATemper{Status: 429, StatusTimes: 2, RetryAfter: time.Minute}}, func(t *testing.T, c *sim.Cloud) {
		body := issueRequest(t, c, "gw-1", newKey(t, elliptic.P256()))
		for _, wait := range []time.Duration{0, 59 * time.Second, time.Minute} {
			time.Sleep(wait)
			ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", c.EZCAToken(), body)
		}
		if n := c.EZCACount("gw-1"); n.Early != 1 || n.Refused != 2 || n.Issued != 1 || n.Arrivals[2].Sub(n.Arrivals[1]) != time.Minute {
			t.Errorf("%+v", n)
		}
	})
}

// askOnce asks the service that has that point, and returns the status.
func askOnce(t *testing.T, c *sim.Cloud, p sim.Point) int {
	t.Helper()
	switch p {
	case sim.AtEntra:
		app := c.Entra().App
		status, _, _ := askEntra(t, c, c.Entra().Tenant, url.Values{"grant_type": {"client_credentials"}, "client_id": {app.ClientID},
			"scope": {management}, "client_secret": {app.Secret}})
		return status
	case sim.AtEZCAInfo:
		status, _ := ezcaGet(t, c, "/api/CA/GetMyCAs", c.EZCAToken())
		return status
	}
	r, _ := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", c.EZCAToken(), issueRequest(t, c, "gw-1", newKey(t, elliptic.P256())))
	return r.StatusCode
}
