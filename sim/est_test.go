package sim_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// estClient speaks plain HTTP over TLS to the EST server.
type estClient struct {
	*testing.T
	*http.Client
	user, password string
	base           string // of its address; "" is the EST server's
}

func atEST(t *testing.T, cloud *sim.Cloud, credentials ...credential) *estClient {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cloud.RootsPEM())
	config := &tls.Config{RootCAs: roots}
	if len(credentials) > 0 {
		mine := credentials[0].tls()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &mine, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return cloud.Dial(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &estClient{T: t, Client: &http.Client{Transport: transport}}
}

// send returns status, headers and body of the answer; with a body it is a POST.
func (c *estClient) send(path, contentType string, body []byte) (*http.Response, string) {
	c.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(c.Context(), method, cmp.Or(c.base, "https://"+sim.ESTHost)+path, bytes.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if c.user != "" {
		r.SetBasicAuth(c.user, c.password)
	}
	response, err := c.Do(r)
	if err != nil {
		c.Fatalf("%s: %v", path, err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		c.Fatal(err)
	}
	return response, string(b)
}

// enroll sends a request for r, signed by key, and returns the certificate where there is one.
func (c *estClient) enroll(op string, r *x509.CertificateRequest, key crypto.Signer) (status int, leaf *x509.Certificate, text string) {
	c.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		c.Fatal(err)
	}
	response, text := c.send("/.well-known/est/"+op, "application/pkcs10", []byte(base64.StdEncoding.EncodeToString(der)))
	if response.StatusCode != 200 {
		return response.StatusCode, nil, text
	}
	return response.StatusCode, onlyCertificate(c.T, text), text
}

// onlyCertificate finds the one certificate of a certs-only message: the SEQUENCE in its [0] that parses.
func onlyCertificate(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	var message struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version int
			Digests asn1.RawValue
			Data    asn1.RawValue
			Certs   asn1.RawValue `asn1:"tag:0"`
			Signers asn1.RawValue
		} `asn1:"explicit,tag:0"`
	}
	if rest, err := asn1.Unmarshal(der, &message); err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes behind it", err, len(rest))
	}
	certs, err := x509.ParseCertificates(message.Content.Certs.Bytes)
	if err != nil || len(certs) != 1 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	return certs[0]
}

func named(cn string) *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}
}

func TestESTServesItsAuthoritiesToEverybody(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atEST(t, cloud)
		for _, path := range []string{"/.well-known/est/cacerts", "/.well-known/est/any-label/cacerts", "/EST/a/b/eastus/.well-known/est/cacerts"} {
			r, body := c.send(path, "", nil)
			if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/pkcs7-mime" || body == "" {
				t.Errorf("%s: %s %v", path, r.Status, r.Header)
			}
		}
		for path, want := range map[string]int{"/.well-known/est/csrattrs": 204, "/cacerts": 404, "/.well-known/est/fullcmc": 404, "/.well-known/est/simpleenroll": 404} {
			if r, _ := c.send(path, "", nil); r.StatusCode != want {
				t.Errorf("%s: %s, want %d", path, r.Status, want)
			}
		}
	})
}

func TestESTJudgesWhoAsks(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cloud.ESTUser("line-3", "s3cret")
		key := newKey(t, elliptic.P256())
		boot := bootstrap(t, cloud, "gw-1")
		stranger := atEST(t, cloud)
		wrong, right := atEST(t, cloud), atEST(t, cloud)
		wrong.user, wrong.password = "line-3", "s3cre"
		right.user, right.password = "line-3", "s3cret"
		for name, c := range map[string]struct {
			client *estClient
			op, cn string
			want   int
		}{
			"nobody":                      {stranger, "simpleenroll", "gw-1", 401},
			"wrong password":              {wrong, "simpleenroll", "gw-1", 401},
			"right password":              {right, "simpleenroll", "gw-1", 200},
			"renewal by password":         {right, "simplereenroll", "gw-1", 403},
			"bootstrap":                   {atEST(t, cloud, boot), "simpleenroll", "gw-1", 200},
			"bootstrap for another":       {atEST(t, cloud, boot), "simpleenroll", "gw-2", 403},
			"bootstrap in another case":   {atEST(t, cloud, boot), "simpleenroll", "GW-1", 403},
			"renewal by bootstrap":        {atEST(t, cloud, boot), "simplereenroll", "gw-1", 403},
			"bootstrap of another CA":     {atEST(t, cloud, foreign(t, "gw-1")), "simpleenroll", "gw-1", 403},
			"bootstrap without its chain": {atEST(t, cloud, credential{boot.key, boot.chain[:1]}), "simpleenroll", "gw-1", 200},
		} {
			if status, _, text := c.client.enroll(c.op, named(c.cn), key); status != c.want {
				t.Errorf("%s: %d, want %d: %s", name, status, c.want, text)
			}
		}
		time.Sleep(25 * time.Hour)
		if status, _, text := atEST(t, cloud, boot).enroll("simpleenroll", named("gw-1"), key); status != 403 || !strings.Contains(text, "expired") {
			t.Errorf("expired: %d %s", status, text)
		}
	})
}

func TestESTRenewsOnlyTheSameNames(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		key, next := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
		request := named("gw-1")
		request.DNSNames = []string{"gw-1.plant", "gw-1"}
		_, leaf, text := atEST(t, cloud, bootstrap(t, cloud, "gw-1")).enroll("simpleenroll", request, key)
		if leaf == nil {
			t.Fatal(text)
		}
		mine := atEST(t, cloud, credential{key, []*x509.Certificate{leaf}})
		swapped, none, wider, encoded := named("gw-1"), named("gw-1"), named("gw-1"), named("gw-1")
		swapped.DNSNames = []string{"gw-1", "gw-1.plant"}
		wider.DNSNames, wider.Subject.Organization = request.DNSNames, []string{"Plant"}
		encoded.DNSNames = request.DNSNames
		encoded.RawSubject = utf8Name(t, "gw-1")
		for name, c := range map[string]struct {
			r    *x509.CertificateRequest
			key  crypto.Signer
			want int
		}{
			"same names, same key": {request, key, 200}, "same names, another key": {request, next, 200}, "another order": {swapped, next, 403},
			"no alternative names": {none, next, 403}, "a wider subject": {wider, next, 403}, "another string type": {encoded, next, 403},
		} {
			if status, _, text := mine.enroll("simplereenroll", c.r, c.key); status != c.want {
				t.Errorf("%s: %d, want %d: %s", name, status, c.want, text)
			}
		}
		if n := cloud.ESTCount("gw-1"); n.Renewed != 1 || n.Rekeyed != 2 || n.Refused != 4 || n.Issued != 3 {
			t.Errorf("%+v", n)
		}
		cloud.ESTRevoke("gw-1")
		if status, _, text := mine.enroll("simplereenroll", request, next); status != 403 || !strings.Contains(text, "revoked") {
			t.Errorf("revoked: %d %s", status, text)
		}
	})
}

// utf8Name is CN=cn with the string type that Go does not choose for it.
func utf8Name(t *testing.T, cn string) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(cn)}}}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestESTJudgesTheRequest(t *testing.T) {
	inBubble(t, sim.Temper{EST: sim.ESTTemper{ExactType: true}}, func(t *testing.T, cloud *sim.Cloud) {
		c := atEST(t, cloud, bootstrap(t, cloud, "gw-1"))
		small, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		for name, key := range map[string]crypto.Signer{"RSA 1024": small, "P-521": newKey(t, elliptic.P521())} {
			if status, _, text := c.enroll("simpleenroll", named("gw-1"), key); status != 400 {
				t.Errorf("%s: %d %s", name, status, text)
			}
		}
		good := csr(t, "gw-1", newKey(t, elliptic.P256()))
		bent := []byte(good)
		bent[len(bent)-9] ^= 1
		for name, r := range map[string]struct {
			contentType, body string
			want              int
		}{
			"one line": {"application/pkcs10", good, 200}, "lines": {"application/pkcs10", good[:64] + "\r\n" + good[64:] + "\r\n", 200},
			"type with a parameter": {"application/pkcs10; charset=utf-8", good, 415}, "another type": {"text/plain", good, 415},
			"no type": {"", good, 415}, "PEM": {"application/pkcs10", "-----BEGIN CERTIFICATE REQUEST-----\n" + good, 400},
			"signature": {"application/pkcs10", string(bent), 400}, "too large": {"application/pkcs10", strings.Repeat("AAAA", 1<<15), 413},
			"nothing": {"application/pkcs10", "", 400},
		} {
			if response, text := c.send("/.well-known/est/simpleenroll", r.contentType, []byte(r.body)); response.StatusCode != r.want {
				t.Errorf("%s: %s, want %d: %s", name, response.Status, r.want, text)
			}
		}
	})
}

func TestESTCountsThoseWhoComeTooEarly(t *testing.T) {
	inBubble(t, sim.Temper{EST: sim.ESTTemper{Pending: 2, RetryAfter: time.Minute}}, func(t *testing.T, cloud *sim.Cloud) {
		c := atEST(t, cloud, bootstrap(t, cloud, "gw-1"))
		body := []byte(csr(t, "gw-1", newKey(t, elliptic.P256())))
		for i, want := range []int{202, 202, 200} {
			r, text := c.send("/.well-known/est/simpleenroll", "application/pkcs10", body)
			if r.StatusCode != want || (want == 202) != (r.Header.Get("Retry-After") == "60") {
				t.Errorf("%d: %s %v %s", i, r.Status, r.Header, text)
			}
			c.CloseIdleConnections()
			time.Sleep(time.Duration(i+1) * 30 * time.Second)
		}
		if n := cloud.ESTCount("gw-1"); n.Early != 1 || n.Requests != 1 || n.Pending != 2 {
			t.Errorf("%+v", n)
		}
	})
}
