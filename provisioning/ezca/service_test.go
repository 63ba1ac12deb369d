package ezca

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
)

const (
	caID       = "5f0b1c2d-1111-4222-8333-444455556666"
	templateID = "7c1d0e9f-aaaa-4bbb-8ccc-ddddeeeeffff"
	oneUse     = "eyJ0eXAiOiJKV1QifQ.eyJvaWQiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlLW9mLWVudHJh"
)

// service is a strict EZCA that knows two calls, and keeps what it was sent.
type service struct {
	*testing.T
	*httptest.Server
	rootKey, caKey crypto.Signer
	root, ca       *x509.Certificate

	mu     sync.Mutex
	offset time.Duration                                     // of its clock
	before func(w http.ResponseWriter, r *http.Request) bool // answers in place of the service where it returns true
	shape  func(leaf *x509.Certificate) string               // of an answer that is not the usual one
	change func(template *x509.Certificate)                  // of what is issued
	paths  []string                                          // asked for
	tokens []string                                          // seen
	bodies []map[string]any                                  // read
	issued map[string]*x509.Certificate                      // by thumbprint
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{T: t, rootKey: newECKey(t), caKey: newECKey(t), issued: map[string]*x509.Certificate{}}
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * 24 * time.Hour)}
	}
	self := ca("EZCA Root")
	s.root = s.sign(self, self, s.rootKey.Public(), s.rootKey)
	s.ca = s.sign(ca("EZCA Issuing"), s.root, s.caKey.Public(), s.rootKey)
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

func newECKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (s *service) sign(template, by *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, by, public, key)
	if err != nil {
		s.Error(err)
		return nil
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		s.Error(err)
	}
	return x
}

// world is a device that knows the service, and the token that it takes.
func (s *service) world() *world {
	s.Helper()
	w := newWorld(s.T, newKeyRing(s.T))
	w.config.URL, w.config.CA, w.config.Template = s.URL, caID, templateID
	w.config.Roots = mtls.Fixed(x509.NewCertPool())
	w.config.Roots.Pool().AddCert(s.Certificate())
	w.handOver(oneUse)
	return w
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Date", time.Now().Add(s.offset).UTC().Format(http.TimeFormat))
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.paths, s.tokens = append(s.paths, r.URL.Path), append(s.tokens, token)
	if s.before != nil && s.before(w, r) {
		return
	}
	text, err := s.answer(r, token)
	if refusal, ok := errors.AsType[*refusal](err); ok {
		http.Error(w, refusal.text, refusal.status)
		return
	}
	io.WriteString(w, text)
}

type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func no(status int, format string, a ...any) error {
	return &refusal{status, fmt.Sprintf(format, a...)}
}

func (s *service) answer(r *http.Request, token string) (string, error) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.UserAgent() != "devid-agent/1" || r.TLS == nil {
		return "", no(400, "%s %+v", r.Method, r.Header)
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return "", no(400, "%v", err)
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		return "", no(400, "%v", err)
	}
	s.bodies = append(s.bodies, body)
	switch r.URL.Path {
	case "/api/CA/RequestSSLCertificateV2":
		return s.first(body, token)
	case "/api/Certificates/RenewCertificateV3", "/api/Certificates/RenewCertificateV2", "/api/Certificates/RenewCertificate":
		return s.renew(r.URL.Path, body, token)
	}
	return "", no(404, "no such call")
}

func (s *service) first(body map[string]any, token string) (string, error) {
	if token != oneUse {
		return "", no(401, "who are you?")
	}
	if body["CAID"] != caID || body["TemplateID"] != templateID || len(body) != 9 {
		return "", no(400, "CAID, TemplateID or others: %v", body)
	}
	csr, err := request(body["CSR"])
	if err != nil {
		return "", err
	}
	names, _ := json.Marshal(body["SubjectAltNames"])
	if body["SubjectName"] != "CN="+csr.Subject.CommonName || string(names) != `[{"SubjectAltType":2,"ValueSTR":"`+csr.Subject.CommonName+`"}]` {
		return "", no(400, "%v %s", body["SubjectName"], names)
	}
	return s.issue("/v3", csr, body["ValidityInDays"])
}

func request(text any) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(fmt.Append(nil, text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return nil, no(400, "not a request in PEM: %v", text)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		return nil, no(400, "request: %v", err)
	}
	return csr, nil
}

func (s *service) renew(path string, body map[string]any, token string) (string, error) {
	old, err := s.holder(token)
	if err != nil {
		return "", err
	}
	payload := body
	if path != "/api/Certificates/RenewCertificate" {
		block, _ := pem.Decode(fmt.Append(nil, body["Certificate"]))
		if block == nil || !bytes.Equal(block.Bytes, old.Raw) {
			return "", no(400, "another certificate than the token's")
		}
		payload, _ = body["Payload"].(map[string]any)
	}
	csr, err := request(payload["CSR"])
	if err != nil {
		return "", err
	}
	if !bytes.Equal(csr.RawSubject, old.RawSubject) || !bytes.Equal(names(csr.Extensions), names(old.Extensions)) {
		return "", no(400, "the CSR does not match the certificate")
	}
	return s.issue(path, csr, payload["ValidityInDays"])
}

func names(all []pkix.Extension) []byte {
	for _, e := range all {
		if e.Id.Equal(provisioning.OIDAlternativeNames) {
			return e.Value
		}
	}
	return nil
}

// holder is the certificate whose key signed the token, for now.
func (s *service) holder(token string) (*x509.Certificate, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, no(401, "not a JWT")
	}
	var head, claim map[string]any
	for i, into := range []*map[string]any{&head, &claim} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			return nil, no(401, "not a JWT")
		}
	}
	old := s.issued[fmt.Sprint(head["x5t"])]
	if len(head) != 3 || head["alg"] != "RS256" || head["typ"] != "JWT" || old == nil {
		return nil, no(401, "header %v", head)
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(old.PublicKey.(*rsa.PublicKey), crypto.SHA256, digest[:], signature); err != nil {
		return nil, no(401, "signature: %v", err)
	}
	return old, s.claimed(claim)
}

func (s *service) claimed(claim map[string]any) error {
	from, _ := claim["nbf"].(float64)
	to, _ := claim["exp"].(float64)
	now := float64(time.Now().Add(s.offset).Unix())
	if len(claim) != 4 || claim["aud"] != "https://ezca.io" || len(fmt.Sprint(claim["jti"])) != 36 {
		return no(401, "claims %v", claim)
	}
	if now < from || now >= to || to-from > 1800 {
		return no(401, "good from %v to %v, it is %v", from, to, now)
	}
	return nil
}

func thumbprint(x *x509.Certificate) string {
	sum := sha1.Sum(x.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func (s *service) issue(path string, csr *x509.CertificateRequest, days any) (string, error) {
	n, _ := days.(float64)
	if n < 1 || n != float64(int(n)) {
		return "", no(400, "%v days", days)
	}
	template := &x509.Certificate{RawSubject: csr.RawSubject, NotBefore: time.Now().Add(-time.Minute), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	template.NotAfter = template.NotBefore.Add(time.Duration(n) * 24 * time.Hour)
	template.ExtraExtensions = []pkix.Extension{{Id: provisioning.OIDAlternativeNames, Value: names(csr.Extensions)}}
	if s.change != nil {
		s.change(template)
	}
	leaf := s.sign(template, s.ca, csr.PublicKey, s.caKey)
	s.issued[thumbprint(leaf)] = leaf
	switch {
	case s.shape != nil:
		return s.shape(leaf), nil
	case strings.HasSuffix(path, "V2"):
		return pemOf(leaf), nil
	case strings.HasSuffix(path, "RenewCertificate"):
		return object("Success", true, "Message", pemOf(leaf)), nil
	}
	return s.chainObject(leaf), nil
}

func (s *service) chainObject(leaf *x509.Certificate) string {
	return object("CertificatePEM", pemOf(leaf), "IssuingCACertificate", pemOf(s.ca), "RootCertificate", pemOf(s.root))
}

// object is JSON of names and values.
func object(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return quoted(m)
}

func quoted(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
