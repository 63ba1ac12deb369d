package sim_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

const ezcaURL = "https://" + sim.EZCAHost

func ezcaSend(t *testing.T, c *sim.Cloud, method, path, token string, body any) (*http.Response, string) {
	t.Helper()
	b, ok := body.([]byte)
	if !ok && body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), method, ezcaURL+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := reach(t, c).Do(r)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func ezcaGet(t *testing.T, c *sim.Cloud, path, token string) (int, string) {
	t.Helper()
	r, body := ezcaSend(t, c, http.MethodGet, path, token, nil)
	return r.StatusCode, body
}

// request is a CSR in PEM.
func request(t *testing.T, r *x509.CertificateRequest, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func pemOf(x *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw}))
}

func fromPEM(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM: %.200s", text)
	}
	x, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// issueRequest is the body that Keytos' clients send.
func issueRequest(t *testing.T, c *sim.Cloud, device string, key crypto.Signer) map[string]any {
	names := c.EZCA()
	return map[string]any{"CAID": names.CA, "TemplateID": names.Template, "SubjectName": "CN=" + device, "ValidityInDays": 30,
		"SubjectAltNames": []any{map[string]any{"SubjectAltType": 2, "ValueSTR": device}}, "CSR": request(t, named(device), key),
		"EKUs": []string{"1.3.6.1.5.5.7.3.2"}, "KeyUsages": []string{"Digital Signature"}, "SelectedLocation": "IoT Device"}
}

type chainAnswer struct{ CertificatePEM, IssuingCACertificate, RootCertificate string }

// ezcaCredential is a device's certificate by V2 and a one-use token.
func ezcaCredential(t *testing.T, c *sim.Cloud, device string, key crypto.Signer) credential {
	t.Helper()
	r, body := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", c.EZCAToken(), issueRequest(t, c, device, key))
	var chain chainAnswer
	if err := json.Unmarshal([]byte(body), &chain); err != nil || r.StatusCode != 200 {
		t.Fatalf("%s %v: %s", r.Status, err, body)
	}
	return credential{key, []*x509.Certificate{fromPEM(t, chain.CertificatePEM), fromPEM(t, chain.IssuingCACertificate)}}
}

func TestEZCAIssuesToWhoWasRegistered(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		begin, names := c.Entra(), c.EZCA()
		_, _, station := askEntra(t, c, begin.Tenant, url.Values{"grant_type": {"client_credentials"}, "client_id": {begin.App.ClientID},
			"scope": {management}, "client_secret": {begin.App.Secret}})
		key := newKey(t, elliptic.P256())
		ask := func() (int, string) {
			r, body := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", station, issueRequest(t, c, "gw-1", key))
			return r.StatusCode, body
		}
		if status, body := ask(); status != 400 || !strings.Contains(body, "not registered") {
			t.Errorf("before it is registered: %d %s", status, body)
		}
		person := map[string]any{"ObjectId": "0b0f7c6e-52a1-4f27-9b0a-3d3f4f7a1c11", "FriendlyName": "ann@example.com", "ObjectType": "User", "isValid": true}
		machine := map[string]any{"ObjectId": begin.App.ObjectID, "FriendlyName": "station", "ObjectType": "User", "isValid": true}
		domain := map[string]any{"CAID": names.CA, "TemplateID": names.Template, "Domain": "gw-1", "Owners": []any{machine}, "Requesters": []any{machine}}
		register := func(want bool, part string) {
			t.Helper()
			r, body := ezcaSend(t, c, http.MethodPost, "/api/CA/RegisterNewDomain", station, domain)
			var answer struct {
				Success bool
				Message string
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || r.StatusCode != 200 || answer.Success != want || !strings.Contains(answer.Message, part) {
				t.Errorf("%s %v %s, want %t %s", r.Status, err, body, want, part)
			}
		}
		register(false, "owners must be users or groups")
		domain["Owners"] = []any{}
		register(false, "needs an owner")
		domain["Owners"] = []any{person}
		register(true, "")
		register(false, "already")
		if status, body := ask(); status != 200 || !strings.Contains(body, "RootCertificate") {
			t.Errorf("after it is registered: %d %s", status, body)
		}
		if n := c.EZCACount("gw-1"); n.Requested != 2 || n.Issued != 1 || n.Refused != 1 || len(n.Arrivals) != 2 {
			t.Errorf("%+v", n)
		}
		x := c.EZCAIssued("gw-1")[0]
		if x.Subject.CommonName != "gw-1" || x.DNSNames[0] != "gw-1" || x.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || time.Until(x.NotAfter).Round(time.Hour) != 30*24*time.Hour {
			t.Errorf("%+v %v %v", x.Subject, x.DNSNames, x.NotAfter)
		}
		wrong := issueRequest(t, c, "gw-2", key)
		if r, body := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", station, wrong); r.StatusCode != 400 {
			t.Errorf("another device: %s %s", r.Status, body)
		}
		_, mine := ezcaGet(t, c, "/api/CA/GetMyCertificatesV2Paginated?pageNumber=0", station)
		_, none := ezcaGet(t, c, "/api/CA/GetMyCertificatesV2Paginated?pageNumber=1", station)
		if !strings.Contains(mine, x5t(x)) || strings.TrimSpace(none) != "[]" {
			t.Errorf("certificates: %s, %s", mine, none)
		}
		revoke := map[string]any{"CAID": names.CA, "TemplateID": names.Template, "Thumbprint": strings.ToLower(x5t(x))}
		if _, body := ezcaSend(t, c, http.MethodPost, "/api/CA/RevokeCertificateV2", station, revoke); !strings.Contains(body, `"Success":true`) {
			t.Error(body)
		}
		if c.Count("gw-1", sim.Revoked) != 1 {
			t.Error("nothing was revoked")
		}
	})
}

func TestEZCAsFirstIssueAnswersInItsThreeShapes(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		key := newKey(t, elliptic.P256())
		body := issueRequest(t, c, "gw-1", key)
		body["SubjectAltNames"] = []string{"gw-1"}
		token := c.EZCAToken()
		_, wrapped := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificate", token, body)
		var one struct {
			Success bool
			Message string
		}
		if err := json.Unmarshal([]byte(wrapped), &one); err != nil || !one.Success || fromPEM(t, one.Message).Subject.CommonName != "gw-1" {
			t.Errorf("%v %s", err, wrapped)
		}
		if r, text := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificate", token, body); r.StatusCode != 401 {
			t.Errorf("the token again: %s %s", r.Status, text)
		}
		_, full := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestFullSSLCertificate", c.EZCAToken(), body)
		var chain chainAnswer
		if err := json.Unmarshal([]byte(full), &chain); err != nil || fromPEM(t, chain.RootCertificate).Subject.CommonName != "Sim EZCA Root CA" {
			t.Errorf("%v %s", err, full)
		}
		for path, part := range map[string]string{"GetAvailableSSLCAs": c.EZCA().Template, "GetMyCAs": `"Success":true`, "GetMyDomains": `"Success":true`, "GetSSLCA?caID=" + c.EZCA().CA: c.EZCA().Template} {
			if status, text := ezcaGet(t, c, "/api/CA/"+path, c.EZCAToken()); status != 200 || !strings.Contains(text, part) {
				t.Errorf("%s: %d %s", path, status, text)
			}
		}
	})
}

func TestEZCATakesNoRequestThatIsNotRight(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, c *sim.Cloud) {
		key := newKey(t, elliptic.P256())
		for name, change := range map[string]func(map[string]any){
			"another CA":           func(b map[string]any) { b["CAID"] = b["TemplateID"] },
			"a name in lower case": func(b map[string]any) { b["csr"] = b["CSR"]; delete(b, "CSR") },
			"no days":              func(b map[string]any) { b["ValidityInDays"] = 0 },
			"too many days":        func(b map[string]any) { b["ValidityInDays"] = 366 },
			"half a day":           func(b map[string]any) { b["ValidityInDays"] = 0.5 },
			"names of V1":          func(b map[string]any) { b["SubjectAltNames"] = []string{"gw-1"} },
			"an unknown kind": func(b map[string]any) {
				b["SubjectAltNames"] = []any{map[string]any{"SubjectAltType": 3, "ValueSTR": "x"}}
			},
			"two subjects":          func(b map[string]any) { b["SubjectName"] = "CN=gw-1,CN=gw-2" },
			"no subject":            func(b map[string]any) { b["SubjectName"] = "gw-1" },
			"an unknown usage":      func(b map[string]any) { b["KeyUsages"] = []string{"digitalSignature"} },
			"a purpose in words":    func(b map[string]any) { b["EKUs"] = []string{"clientAuth"} },
			"a request without PEM": func(b map[string]any) { b["CSR"] = strings.SplitN(b["CSR"].(string), "\n", 3)[1] },
			"another armour": func(b map[string]any) {
				b["CSR"] = strings.ReplaceAll(b["CSR"].(string), "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
			},
			"a small key": func(b map[string]any) { b["CSR"] = request(t, named("gw-1"), newKey(t, elliptic.P521())) },
		} {
			body := issueRequest(t, c, "gw-1", key)
			change(body)
			if r, text := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", c.EZCAToken(), body); r.StatusCode != 400 || strings.HasPrefix(text, "{") {
				t.Errorf("%s: %s %s", name, r.Status, text)
			}
		}
		body := issueRequest(t, c, "gw-1", key)
		body["SubjectAltNames"] = nil
		if r, text := ezcaSend(t, c, http.MethodPost, "/api/CA/RequestSSLCertificateV2", c.EZCAToken(), body); r.StatusCode != 200 {
			t.Errorf("null names: %s %s", r.Status, text)
		}
		if n := len(c.EZCAIssued("gw-1")); n != 1 {
			t.Errorf("%d certificates", n)
		}
	})
}

func TestEZCAsAuthorityMayBeRSA(t *testing.T) {
	c, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer, p.RSAIssuer = true, true })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mine := ezcaCredential(t, c, "gw-1", newKey(t, elliptic.P256()))
	if mine.chain[0].SignatureAlgorithm != x509.SHA256WithRSA || mine.chain[0].CheckSignatureFrom(mine.chain[1]) != nil {
		t.Errorf("signed by %v", mine.chain[0].SignatureAlgorithm)
	}
	if _, text := ezcaGet(t, c, "/api/CA/GetAvailableSSLCAs", c.EZCAToken()); !strings.Contains(text, `"CAKeyType":"RSA 2048"`) {
		t.Error(text)
	}
}
