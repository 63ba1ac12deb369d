package ezca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/provisioning"
)

// alternative is the extension with these DNS names, in this order.
func alternative(t *testing.T, names ...string) []pkix.Extension {
	t.Helper()
	var raw []asn1.RawValue
	for _, n := range names {
		raw = append(raw, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(n)})
	}
	value, err := asn1.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: provisioning.OIDAlternativeNames, Value: value}}
}

func TestRenewalWithOtherNamesIsRefusedAndWithTheSameInAnotherOrderTaken(t *testing.T) {
	s := newService(t)
	w := s.world()
	issues := func(names ...string) {
		s.change = func(x *x509.Certificate) { x.ExtraExtensions = alternative(t, names...) }
	}
	issues(device, "plant-7")
	w.inForce(w.issue())
	for _, names := range [][]string{{device}, {device, "plant-8"}, {device, "plant-7", "plant-8"}, {device, device}} {
		issues(names...)
		if _, err := w.issue(); fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "changed the alternative names") {
			t.Errorf("%q: %v: %v", names, fault.Of(err), err)
		}
	}
	issues("plant-7", device)
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
}

func TestCertificateWithoutAlternativeNamesIsRenewedWithoutAny(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	first := renewalOf(w.request())
	first.old, first.san = w.ids.Current().Leaf(), nil
	if err := first.names(w.ids.Current().Leaf()); err == nil {
		t.Error("names that nobody asked for were taken")
	}
	bare := *w.ids.Current().Leaf()
	bare.Extensions = nil
	if err := first.names(&bare); err != nil {
		t.Error(err)
	}
}

func TestChainOfAnAuthorityThatHasExpiredIsNone(t *testing.T) {
	s := newService(t)
	w := s.world()
	expired := *s.ca
	expired.NotAfter = time.Now().Add(-time.Minute)
	old := s.sign(&expired, s.root, s.caKey.Public(), s.rootKey)
	s.shape = func(leaf *x509.Certificate) string { return pemOf(leaf) + pemOf(old) }
	if _, err := w.issue(); fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "EZCA Issuing") {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	s.shape = func(leaf *x509.Certificate) string { return pemOf(leaf) + pemOf(old) + pemOf(s.ca) }
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
}

func TestRootThatIssuesItselfIsNotPresented(t *testing.T) {
	s := newService(t)
	w := s.world()
	s.ca, s.caKey = s.root, s.rootKey
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
	if len(chain) != 1 {
		t.Errorf("chain of %d", len(chain))
	}
}

func TestChangedSubjectAndIssuerAreTold(t *testing.T) {
	s := newService(t)
	w := s.world()
	w.inForce(w.issue())
	if w.log.Len() != 0 {
		t.Errorf("told of nothing: %s", w.log)
	}
	ca := *s.ca
	ca.RawSubject, ca.Subject = nil, pkix.Name{CommonName: "EZCA Issuing 2"}
	s.ca = s.sign(&ca, s.root, s.caKey.Public(), s.rootKey)
	subject, _ := oddNames(t)
	s.change = func(x *x509.Certificate) { x.RawSubject = subject }
	chain, err := w.issue()
	w.wantChain(s.root, chain, err)
	for _, words := range []string{"changed the subject", "the issuer has changed"} {
		if !strings.Contains(w.log.String(), words) {
			t.Errorf("%s: %s", words, w.log)
		}
	}
}
