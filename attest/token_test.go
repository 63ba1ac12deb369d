package attest_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"testing"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

// reported is evidence as a PKCS#11 store makes it.
func reported(t *testing.T, a keys.Algorithm, change func(*keys.TokenEvidence)) keys.Evidence {
	t.Helper()
	k, err := keystest.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	e := keys.Evidence{Version: keys.EvidenceVersion, Kind: keys.TokenReported, PublicKey: der, Nonce: nonce,
		Token: &keys.TokenEvidence{Module: "/usr/lib/softhsm/libsofthsm2.so", Library: "SoftHSM, 2.6", Token: "factory", Manufacturer: "SoftHSM project",
			Model: "SoftHSM v2", Serial: "1234", Local: true, AlwaysSensitive: true, NeverExtractable: true}}
	if change != nil {
		change(e.Token)
	}
	if e.Token.Signature, err = k.Sign(rand.Reader, e.Statement(), crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWordOfAPKCS11ModuleIsTheWeakestGrade(t *testing.T) {
	for _, a := range keys.Algorithms {
		wantGrade(t, reported(t, a, nil), attest.Question{Nonce: nonce}, attest.Reported,
			"as reported by the PKCS#11 module /usr/lib/softhsm/libsofthsm2.so", "unproven")
	}
	if attest.Reported.AtLeast(attest.Unproven) || !attest.Proven.AtLeast(attest.Reported) || attest.None.AtLeast(attest.Reported) {
		t.Error("the grades are not in order")
	}
}

func TestModuleThatDoesNotVouchForTheKeyIsRefused(t *testing.T) {
	for why, change := range map[string]func(*keys.TokenEvidence){
		"CKA_LOCAL":             func(e *keys.TokenEvidence) { e.Local = false },
		"CKA_ALWAYS_SENSITIVE":  func(e *keys.TokenEvidence) { e.AlwaysSensitive = false },
		"CKA_NEVER_EXTRACTABLE": func(e *keys.TokenEvidence) { e.NeverExtractable = false },
	} {
		wantRefused(t, reported(t, keys.ECDSAP256, change), attest.Question{Nonce: nonce}, why)
	}
}

func TestEachChangeOfAReportIsNoticed(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.RSA2048} {
		e := reported(t, a, nil)
		q := attest.Question{Nonce: nonce}
		wantEachChangeCaught(t, e, q)
	}
}
