package sim_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// browser speaks HTTPS to the cloud. It shares no code with it.
type browser struct {
	t      *testing.T
	client *http.Client
	host   string
	header http.Header // of each request
}

func browse(t *testing.T, cloud *sim.Cloud, host string, cert credential) *browser {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cloud.RootsPEM())
	config := &tls.Config{RootCAs: roots}
	if len(cert.chain) > 0 {
		mine := cert.tls()
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &mine, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DialContext: cloud.Dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, &http.Client{Transport: transport}, host, http.Header{"Content-Type": {"application/json; charset=utf-8"}}}
}

// reply is an answer of the cloud.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), v); err != nil {
		t.Fatalf("%d %q: %v", r.status, r.body, err)
	}
}

// try sends a request; an error is a connection that ended.
func (b *browser) try(method, path, body string) (reply, error) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, "https://"+b.host+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header = b.header.Clone()
	answer, err := b.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, answer.Header, string(text)}, err
}

func (b *browser) do(method, path, body string) reply {
	b.t.Helper()
	r, err := b.try(method, path, body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// want is do, and fails where the status is another one.
func (b *browser) want(status int, method, path, body string) reply {
	b.t.Helper()
	r := b.do(method, path, body)
	if r.status != status {
		b.t.Errorf("%s %s %s: %d %s, want %d", method, path, body, r.status, r.body, status)
	}
	return r
}

// with is the same browser with another header.
func (b *browser) with(name, value string) *browser {
	o := *b
	o.header = b.header.Clone()
	o.header.Set(name, value)
	return &o
}

// token is a shared access signature for an hour; its resource is written percent-encoded.
func token(resource, name string, key []byte) string {
	return tokenUntil(resource, name, key, time.Now().Add(time.Hour))
}

func tokenUntil(resource, name string, key []byte, until time.Time) string {
	sr := url.QueryEscape(resource)
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%s\n%d", sr, until.Unix())
	s := fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d", sr, url.QueryEscape(base64.StdEncoding.EncodeToString(h.Sum(nil))), until.Unix())
	if name != "" {
		s += "&skn=" + name
	}
	return s
}

// ofPolicy signs the requests as a connection string says.
func (b *browser) ofPolicy(connection string) *browser {
	b.t.Helper()
	fields := map[string]string{}
	for pair := range strings.SplitSeq(connection, ";") {
		k, v, _ := strings.Cut(pair, "=")
		fields[k] = v
	}
	key, err := base64.StdEncoding.DecodeString(fields["SharedAccessKey"])
	if err != nil || len(key) == 0 {
		b.t.Fatalf("connection string %q: %v", connection, err)
	}
	return b.with("Authorization", token(fields["HostName"], fields["SharedAccessKeyName"], key))
}

// register registers over HTTPS and polls as it is told to until the end.
func (b *browser) register(id, version, body string) (reply, operation) {
	b.t.Helper()
	path := "/" + sim.IDScope + "/registrations/" + id
	r := b.do("PUT", path+"/register?api-version="+version, body)
	var op operation
	for r.into(b.t, &op); r.status == 202; r.into(b.t, &op) {
		wait, err := time.ParseDuration(r.header.Get("Retry-After") + "s")
		if err != nil {
			b.t.Fatal(err)
		}
		time.Sleep(wait)
		r = b.do("GET", path+"/operations/"+op.OperationID+"?api-version="+version, "{}")
		op.RegistrationState = nil
	}
	return r, op
}

func contains(b []byte, text string) bool { return bytes.Contains(b, []byte(text)) }

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
