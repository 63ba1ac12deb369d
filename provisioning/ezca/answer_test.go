package ezca

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

func unmarshal(text []byte, into any) error { return json.Unmarshal(text, into) }

// bare is a certificate in base64 without PEM's lines.
func bare(x *x509.Certificate) string { return base64.StdEncoding.EncodeToString(x.Raw) }

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

func TestEveryShapeOfAnAnswerIsRead(t *testing.T) {
	s := newService(t)
	for name, shape := range map[string]func(leaf *x509.Certificate) string{
		"chain":             s.chainObject,
		"chain, twice JSON": func(leaf *x509.Certificate) string { return " \n" + quoted(s.chainObject(leaf)) },
		"lower case": func(leaf *x509.Certificate) string {
			return strings.ToLower(`{"CertificatePEM":`) + quoted(pemOf(leaf)) + `,"issuingcacertificate":` + quoted(pemOf(s.ca)) + "}"
		},
		"no root": func(leaf *x509.Certificate) string {
			return object("CertificatePEM", pemOf(leaf), "IssuingCACertificate", pemOf(s.ca))
		},
		"empty root": func(leaf *x509.Certificate) string {
			return object("CertificatePEM", pemOf(leaf), "IssuingCACertificate", pemOf(s.ca), "RootCertificate", "")
		},
		"root is null": func(leaf *x509.Certificate) string {
			return object("CertificatePEM", pemOf(leaf), "IssuingCACertificate", pemOf(s.ca), "RootCertificate", nil)
		},
		"without armour": func(leaf *x509.Certificate) string {
			return object("CertificatePEM", bare(leaf), "IssuingCACertificate", bare(s.ca), "RootCertificate", "\n")
		},
		"CR LF": func(leaf *x509.Certificate) string {
			return object("CertificatePEM", crlf(pemOf(leaf)), "IssuingCACertificate", crlf(pemOf(s.ca)))
		},
		"chain in one": func(leaf *x509.Certificate) string {
			return object("CertificatePEM", pemOf(leaf)+pemOf(s.ca)+pemOf(s.root))
		},
		"upside down":         func(leaf *x509.Certificate) string { return pemOf(s.root) + pemOf(s.ca) + pemOf(leaf) },
		"envelope":            func(leaf *x509.Certificate) string { return object("Success", true, "Message", pemOf(leaf)) },
		"envelope, twice":     func(leaf *x509.Certificate) string { return quoted(object("Success", true, "Message", pemOf(leaf))) },
		"envelope of a chain": func(leaf *x509.Certificate) string { return object("Success", true, "Message", s.chainObject(leaf)) },
		"raw PEM":             pemOf,
		"raw PEM in quotes":   func(leaf *x509.Certificate) string { return quoted(pemOf(leaf)) },
		"raw base64":          func(leaf *x509.Certificate) string { return bare(leaf) },
		"raw base64, wrapped": func(leaf *x509.Certificate) string { return bare(leaf)[:64] + "\r\n" + bare(leaf)[64:] + "\r\n" },
		"PEM after words":     func(leaf *x509.Certificate) string { return "subject=CN = x\n" + pemOf(leaf) },
	} {
		t.Run(name, func(t *testing.T) {
			w := s.world()
			w.T, w.config.Issuers = t, []*x509.Certificate{s.ca}
			s.shape = shape
			chain, err := w.issue()
			w.wantChain(s.root, chain, err)
			if len(chain) != 2 {
				t.Errorf("chain of %d", len(chain))
			}
		})
	}
}

// key is a PEM block that is no certificate.
var key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}))

func TestAnswersThatAreNoneAreRefusedInTheServicesWords(t *testing.T) {
	for name, story := range map[string]struct {
		text  string
		kind  fault.Kind
		words string
	}{
		"no":                     {`{"Success":false,"Message":"the domain is not\nregistered"}`, fault.Operator, "200 OK: the domain is not registered"},
		"no, twice JSON":         {`"{\"Success\":false,\"Message\":\"quota\"}"`, fault.Operator, "quota"},
		"error":                  {"Error: not a requester", fault.Operator, "Error: not a requester"},
		"error without colon":    {`"Error no such template"`, fault.Operator, "no such template"},
		"page":                   {"<html>log in</html>", fault.Operator, "captive portal"},
		"nothing":                {" \r\n", fault.Permanent, "empty"},
		"an empty string":        {`""`, fault.Permanent, "no certificate"},
		"yes without anything":   {`{"Success":true,"Message":""}`, fault.Permanent, "no certificate"},
		"yes in words":           {`{"Success":true,"Message":"Certificate requested"}`, fault.Permanent, "no certificate"},
		"a blank certificate":    {`{"CertificatePEM":" "}`, fault.Permanent, "no certificate"},
		"an object":              {`{}`, fault.Permanent, "no certificate"},
		"null":                   {`null`, fault.Permanent, "no certificate"},
		"an array":               {`[1,2]`, fault.Permanent, "no certificate"},
		"a number":               {`7`, fault.Permanent, "no certificate"},
		"rubbish":                {"%%%", fault.Permanent, `"%%%"`},
		"base64 of rubbish":      {"AAAA", fault.Permanent, "malformed"},
		"half a PEM":             {"-----BEGIN CERTIFICATE-----\nMIIB", fault.Permanent, "no certificate"},
		"PEM of something else":  {key, fault.Permanent, "no certificate"},
		"PEM of rubbish":         {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", fault.Permanent, "malformed"},
		"chain of rubbish":       {`{"CertificatePEM":"AAAA"}`, fault.Permanent, "malformed"},
		"bell and escape, in no": {`{"Success":false,"Message":"\u001b[31mred"}`, fault.Operator, ": [31mred"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			w := s.world()
			s.shape = func(*x509.Certificate) string { return story.text }
			_, err := w.issue()
			if err == nil {
				t.Fatal("it issued")
			}
			if text := err.Error() + " | " + fault.Hint(err); fault.Of(err) != story.kind || !strings.Contains(text, story.words) {
				t.Errorf("%v: %s", fault.Of(err), text)
			}
		})
	}
}

// seedCertificate is one for the fuzzer to begin with.
const seedCertificate = "MIIBdDCCARugAwIBAgIUYl1B9ZHBb1fNG+rnVlVIPHKpiOUwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEc2VlZDAgFw0yNjExMjEyMzAxMzlaGA" +
	"8yMTI2MTAyODIzMDEzOVowDzENMAsGA1UEAwwEc2VlZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABKRyXFhGHbbT1CB6EwOxIW3jpN8cPldo" +
	"wdLlesMoOUpiANZlsVlwSFCC4VkeHpdkeJ1dy9Hjw15d9xZtqbpR0/CjUzBRMB0GA1UdDgQWBBSDkcDY6B7L+QODj0LZxev629qhWjAfBgNVHS" +
	"MEGDAWgBSDkcDY6B7L+QODj0LZxev629qhWjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIB2apiNok9ARgFe/JRnBalf4tpcQ" +
	"Zp1X1k9J7G+sp8qqAiBVInXobNv7WVm3Z+FD6g6ozyQ/O/BVhhNNsm2IyjFIbg=="

func FuzzAnswer(f *testing.F) {
	cert := "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	for _, seed := range []string{`{"Success":true,"Message":"x"}`, `{"Success":false,"Message":"no"}`, quoted(`{"CertificatePEM":"MIIB"}`), "Error: x",
		`{"CertificatePEM":` + quoted(cert) + `,"IssuingCACertificate":"MIIB","RootCertificate":""}`, cert, "MIIB", "", `"`, `""`, "null", "<html>"} {
		f.Add([]byte(seed))
	}
	f.Add([]byte(object("CertificatePEM", seedCertificate)))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := newAnswer("/api", &web.Answer{Status: 200, Header: http.Header{}, Body: body}, "aaaaaaaaaaaaaaaaaaaa.b")
		certs, err := a.certificates()
		if (err == nil) != (len(certs) > 0) || len(certs) > maxCertificates {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
		if said, ok := errors.AsType[*web.Refusal](err); ok && len([]rune(said.Text)) > 301 {
			t.Errorf("words of %d", len(said.Text))
		}
		if err != nil && len(err.Error()) > 4096 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
