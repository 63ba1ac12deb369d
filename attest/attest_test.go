package attest_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

func wantGrade(t *testing.T, e keys.Evidence, q attest.Question, grade attest.Grade, words ...string) {
	t.Helper()
	v, err := attest.Verify(e, q)
	if err != nil || !v.OK || v.Grade != grade {
		t.Errorf("grade %s, want %s: %v", v.Grade, grade, err)
	}
	for _, w := range words {
		if !strings.Contains(v.Words, w) {
			t.Errorf("the verdict does not say %q: %s", w, v.Words)
		}
	}
}

func wantRefused(t *testing.T, e keys.Evidence, q attest.Question, why string) {
	t.Helper()
	v, err := attest.Verify(e, q)
	if err == nil || v.OK || v.Grade != attest.None || !strings.Contains(err.Error(), why) {
		t.Errorf("grade %s, %v, want a refusal because of %q", v.Grade, err, why)
	}
}

func TestKeyOfEachAlgorithmIsProvenByTheEndorsementCertificate(t *testing.T) {
	maker := tpmtest.NewMaker(t)
	for _, a := range keys.Algorithms {
		d := made(t, maker, a)
		e := d.attest(key)
		q := attest.Question{Nonce: nonce, Roots: pool(t, maker.Root(t), maker.Issuer(t))}
		wantGrade(t, e, attest.Question{Nonce: nonce}, attest.Unproven, "AK unproven")
		wantGrade(t, e, q, attest.Unproven, "certificate is genuine", "not tied to it")
		wantGrade(t, e, d.prove(e, q), attest.Proven, "born in a TPM 2.0 by", "model swtpm", "cannot leave")
	}
}

func TestProofOfTheAttestationKeyHoldsForLaterEvidenceAndAfterAPowerCut(t *testing.T) {
	maker := tpmtest.NewMaker(t)
	d := made(t, maker, keys.ECDSAP256)
	q := d.prove(d.attest(key), attest.Question{Nonce: nonce, Roots: pool(t, maker.Root(t), maker.Issuer(t))})
	d.tpm.Restart()
	d.create("device-g2")
	wantGrade(t, d.attest("device-g2"), q, attest.Proven)
}

func TestDerivedEndorsementKeyAndTheChainInTheTPMNeedOnlyTheRoot(t *testing.T) {
	p, f := tpmtest.Start(t), newFactory(t)
	f.endorse(p, nil)
	d := newDevice(t, p, keys.ECDSAP256)
	e := d.attest(key)
	if len(e.TPM.EKChain) != 2 {
		t.Fatalf("%d certificates", len(e.TPM.EKChain))
	}
	q := d.prove(e, attest.Question{Nonce: nonce, Roots: f.roots()})
	wantGrade(t, e, q, attest.Proven, "by INTC model garden version id:00010002")
}

func TestCertificateFindsItsKeyAmongSeveral(t *testing.T) {
	p, f := tpmtest.Start(t), newFactory(t)
	tpmtest.NewMaker(t).Endorse(p) // keeps an RSA key and a P-384 one, with certificates
	f.endorse(p, nil)
	d := newDevice(t, p, keys.ECDSAP256)
	e := d.attest(key)
	wantGrade(t, e, d.prove(e, attest.Question{Nonce: nonce, Roots: f.roots()}), attest.Proven)
}

func TestTPMWithoutAnEndorsementCertificateStaysUnproven(t *testing.T) {
	d := newDevice(t, tpmtest.Start(t), keys.ECDSAP256)
	e := d.attest(key)
	wantGrade(t, e, attest.Question{Nonce: nonce}, attest.Unproven, "AK unproven")
	roots := newFactory(t).roots()
	wantRefused(t, e, attest.Question{Nonce: nonce, Roots: roots}, "the TPM has none")
	if _, _, err := attest.Challenge(e, roots, time.Time{}); err == nil {
		t.Error("a challenge was made for nobody knows whom")
	}
}

func TestBadEndorsementCertificatesAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		why    string
	}{
		"expired":       {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "expired"},
		"not yet valid": {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "not yet valid"},
		"of a server": {func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, "extended key usage"},
		"of an authority": {func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "authority"},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := tpmtest.Start(t), newFactory(t)
			f.endorse(p, c.change)
			e := newDevice(t, p, keys.ECDSAP256).attest(key)
			wantRefused(t, e, attest.Question{Nonce: nonce, Roots: f.roots()}, c.why)
			if _, _, err := attest.Challenge(e, f.roots(), time.Time{}); err == nil {
				t.Error("a challenge was made for it")
			}
		})
	}
}

func TestRootsOfAnotherManufacturerAreNotEnough(t *testing.T) {
	p := tpmtest.Start(t)
	newFactory(t).endorse(p, nil)
	e := newDevice(t, p, keys.ECDSAP256).attest(key)
	wantRefused(t, e, attest.Question{Nonce: nonce, Roots: newFactory(t).roots()}, "unknown authority")
}
