package ezca

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/provisioning"
)

func TestFirstCertificateComesForATokenAndTheTokenIsGone(t *testing.T) {
	s := newService(t)
	w := s.world()
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
	if len(chain) != 2 || !slices.Equal(chain[0].DNSNames, []string{device}) || w.tokenIsLeft() {
		t.Errorf("chain of %d for %q, token left: %v", len(chain), chain[0].DNSNames, w.tokenIsLeft())
	}
	body := s.bodies[0]
	if body["ValidityInDays"] != 90.0 || body["SelectedLocation"] != "IoT Device" || quoted(body["EKUs"]) != `["1.3.6.1.5.5.7.3.2"]` ||
		quoted(body["KeyUsages"]) != `["Key Encipherment","Digital Signature"]` {
		t.Errorf("%v", body)
	}
}

func TestTokenIsKeptUntilACertificateCameOfIt(t *testing.T) {
	s := newService(t)
	w := s.world()
	for status, kind := range map[int]fault.Kind{503: fault.Transient, 401: fault.Operator, 400: fault.Operator} {
		s.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
		if _, err := w.issue(); fault.Of(err) != kind || !w.tokenIsLeft() {
			t.Errorf("%d: %v, token left: %v", status, err, w.tokenIsLeft())
		}
	}
	s.before = nil
	s.shape = func(leaf *x509.Certificate) string { return s.chainObject(s.ca) }
	if _, err := w.issue(); fault.Of(err) != fault.Permanent || !w.tokenIsLeft() {
		t.Errorf("a certificate for another key: %v, token left: %v", err, w.tokenIsLeft())
	}
	s.shape = nil
	s.Close()
	if _, err := w.issue(); fault.Of(err) != fault.Transient || !w.tokenIsLeft() {
		t.Errorf("unreachable: %v, token left: %v", err, w.tokenIsLeft())
	}
}

func TestCertificateOfAUsedTokenIsThereForWhoComesAgain(t *testing.T) {
	s := newService(t)
	w := s.world()
	c := New(w.config)
	ask := func() ([]*x509.Certificate, error) { return c.First().Issue(t.Context(), w.request()) }
	one, err := ask()
	w.wantChain(s.root, one, err)
	two, err := ask() // DPS did not answer, say
	w.wantChain(s.root, two, err)
	w.handOver(oneUse) // one that cannot be removed
	three, err := ask()
	w.wantChain(s.root, three, err)
	if len(s.paths) != 1 || !two[0].Equal(one[0]) || !three[0].Equal(one[0]) {
		t.Errorf("%d requests", len(s.paths))
	}
	w.handOver(oneUse + "x")
	if _, err := ask(); fault.Of(err) != fault.Operator || len(s.paths) != 2 {
		t.Errorf("a new token is not shown: %v", err)
	}
	os.Remove(w.config.TokenFile)
	w.key = newECKey(t)
	if _, err := ask(); fault.Of(err) != fault.Operator || !strings.Contains(err.Error(), "no token") {
		t.Errorf("another key: %v", err)
	}
}

func TestDeviceWithoutAUsableTokenIsToldHowToGetOne(t *testing.T) {
	s := newService(t)
	for name, prepare := range map[string]func(w *world){
		"no setting": func(w *world) { w.config.TokenFile = "" },
		"no file":    func(w *world) { os.Remove(w.config.TokenFile) },
		"empty":      func(w *world) { w.handOver("") },
		"two lines":  func(w *world) { w.handOver("abc\ndef") },
		"not text":   func(w *world) { w.handOver("\x00\x01") },
		"huge":       func(w *world) { w.handOver(strings.Repeat("a", maxToken)) },
	} {
		w := s.world()
		prepare(w)
		if _, err := w.issue(); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "token_file") || len(s.paths) != 0 {
			t.Errorf("%s: %v: %v | %s", name, fault.Of(err), err, fault.Hint(err))
		}
	}
	w := s.world()
	w.config.TokenFile = t.TempDir()
	if _, err := w.issue(); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "let the agent read") {
		t.Errorf("unreadable: %v: %v | %s", fault.Of(err), err, fault.Hint(err))
	}
}

func TestRenewalIsSignedByTheCertificateInForce(t *testing.T) {
	for api, path := range map[string]string{"": "/api/Certificates/RenewCertificateV3", V2: "/api/Certificates/RenewCertificateV2", V1: "/api/Certificates/RenewCertificate"} {
		s := newService(t)
		w := s.world()
		w.inForce(w.issue())
		w.config.API, w.config.Validity = api, 0
		for range 2 {
			chain, err := w.issue()
			w.wantChain(s.root, chain, err)
			w.inForce(chain, err)
		}
		if !slices.Equal(s.paths[1:], []string{path, path}) || s.tokens[1] == s.tokens[2] {
			t.Errorf("%q: %q", api, s.paths)
		}
		if life := w.ids.Current().Leaf(); life.NotAfter.Sub(life.NotBefore) != 90*24*time.Hour {
			t.Errorf("%q: from %v to %v", api, life.NotBefore, life.NotAfter)
		}
	}
}

func TestRenewalCarriesSubjectAndAlternativeNamesOverByteForByte(t *testing.T) {
	s := newService(t)
	w := s.world()
	subject, san := oddNames(t)
	s.change = func(x *x509.Certificate) {
		x.RawSubject, x.ExtraExtensions = subject, []pkix.Extension{{Id: provisioning.OIDAlternativeNames, Value: san}}
	}
	w.inForce(w.issue())
	s.change = nil
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
	if !bytes.Equal(chain[0].RawSubject, subject) || !bytes.Equal(names(chain[0].Extensions), san) {
		t.Errorf("subject %x, names %x", chain[0].RawSubject, names(chain[0].Extensions))
	}
}

// oddNames are such as no template of Go's would write: string types and order of the subject, order and kinds of the
// alternative names.
func oddNames(t *testing.T) (subject, san []byte) {
	t.Helper()
	text := func(oid asn1.ObjectIdentifier, s string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(s)}}}
	}
	subject, err := asn1.Marshal(pkix.RDNSequence{text(asn1.ObjectIdentifier{2, 5, 4, 3}, device), text(asn1.ObjectIdentifier{2, 5, 4, 10}, "Plant 7")})
	if err != nil {
		t.Fatal(err)
	}
	name := func(tag int, value string) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
	}
	if san, err = asn1.Marshal([]asn1.RawValue{name(7, "\xc0\x00\x02\x01"), name(6, "urn:dev:1"), name(2, device)}); err != nil {
		t.Fatal(err)
	}
	return subject, san
}

func TestSameKeyIsRenewedToo(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	w.key = w.ids.Current().Signer()
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
	if chain[0].Equal(w.ids.Current().Leaf()) {
		t.Error("it is the old one")
	}
}

func TestServiceWithoutV3IsAskedByV2(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "V3") {
			http.NotFound(w, r)
		}
		return strings.HasSuffix(r.URL.Path, "V3")
	}
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
	if len(s.paths) != 3 || !strings.HasSuffix(s.paths[2], "V2") || s.tokens[1] == s.tokens[2] {
		t.Errorf("%q", s.paths)
	}
	s.before = func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }
	if _, err := w.issue(); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "provisioning.ezca.url") || len(s.paths) != 5 {
		t.Errorf("%v: %v, %q", fault.Of(err), err, s.paths)
	}
}

func TestChainOfALoneCertificateComesFromTheIssuersThatAreKnown(t *testing.T) {
	s := newService(t)
	w := s.world()
	s.shape = func(leaf *x509.Certificate) string { return pemOf(leaf) }
	if _, err := w.issue(); fault.Of(err) != fault.Permanent || !strings.Contains(fault.Hint(err), "provisioning.ezca.issuers") {
		t.Errorf("%v: %v | %s", fault.Of(err), err, fault.Hint(err))
	}
	w.config.Issuers = []*x509.Certificate{s.root, s.ca}
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
	w.inForce(chain[:1], nil)
	w.config.API, w.config.Issuers = V2, nil
	asked := len(s.paths)
	if _, err := w.issue(); fault.Of(err) != fault.Operator || len(s.paths) != asked {
		t.Errorf("nothing above is known, and it asks: %v: %v", fault.Of(err), err)
	}
	w.config.Issuers = []*x509.Certificate{s.ca}
	chain, err = w.issue()
	w.wantChain(s.root, chain, err)
}

func TestEveryRegistrationIDCanBeADNSName(t *testing.T) {
	s := newService(t)
	for _, id := range []string{"a", "Gateway_7", "plant:7", "00:11:22:aa", "a.b-c.d", "gateway-1/module-2", strings.Repeat("x", 64)} {
		w := s.world()
		chain, err := New(w.config).Issue(t.Context(), provisioning.Request{DeviceID: id, Key: w.key})
		if err != nil || chain[0].Subject.CommonName != id {
			t.Errorf("%s: %v", id, err)
		}
	}
}
