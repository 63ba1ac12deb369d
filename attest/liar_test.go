package attest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// liar has an attestation key in software, and says of it and of a key in software whatever he likes.
type liar struct {
	ak      *ecdsa.PrivateKey
	e       keys.Evidence
	subject tpm2.TPMTPublic
	akArea  tpm2.TPMTPublic
}

func software(t *testing.T) (*ecdsa.PrivateKey, tpm2.TPMUPublicID) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return k, tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: raw[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: raw[33:]}})
}

// newLiar dresses his keys as those of the honest evidence e.
func newLiar(t *testing.T, e keys.Evidence) *liar {
	t.Helper()
	l := &liar{e: clone(t, e)}
	for from, to := range map[*[]byte]*tpm2.TPMTPublic{&e.TPM.Public: &l.subject, &e.TPM.AK: &l.akArea} {
		p, err := tpm2.Unmarshal[tpm2.TPMTPublic](*from)
		if err != nil {
			t.Fatal(err)
		}
		*to = *p
	}
	var k *ecdsa.PrivateKey
	k, l.subject.Unique = software(t)
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	l.e.PublicKey = der
	l.ak, l.akArea.Unique = software(t)
	return l
}

// tell is his evidence, consistent in itself.
func (l *liar) tell(t *testing.T) keys.Evidence {
	t.Helper()
	l.e.TPM.Public, l.e.TPM.AK = tpm2.Marshal(l.subject), tpm2.Marshal(l.akArea)
	name, err := tpm2.ObjectName(&l.akArea)
	if err != nil {
		t.Fatal(err)
	}
	l.e.TPM.AKName = name.Buffer
	of, err := tpm2.ObjectName(&l.subject)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append([]byte{0x40, 0, 0, 0x0B}, name.Buffer...))
	l.sign(t, tpm2.TPMSAttest{Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCertify,
		QualifiedSigner: tpm2.TPM2BName{Buffer: append([]byte{0, 0x0B}, sum[:]...)},
		ExtraData:       tpm2.TPM2BData{Buffer: l.e.Statement()},
		Attested:        tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{Name: *of, QualifiedName: *of})})
	return l.e
}

func (l *liar) sign(t *testing.T, s tpm2.TPMSAttest) {
	t.Helper()
	l.signBytes(t, tpm2.Marshal(s))
}

func (l *liar) signBytes(t *testing.T, statement []byte) {
	t.Helper()
	l.e.TPM.Attest = statement
	digest := sha256.Sum256(l.e.TPM.Attest)
	r, ss, err := ecdsa.Sign(rand.Reader, l.ak, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	l.e.TPM.Signature = tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA,
		Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{Hash: tpm2.TPMAlgSHA256,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.FillBytes(make([]byte, 32))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: ss.FillBytes(make([]byte, 32))}})})
}

func TestPerfectLieIsNeverMoreThanUnproven(t *testing.T) {
	maker := tpmtest.NewMaker(t)
	honest := made(t, maker, keys.ECDSAP256)
	e := honest.attest(key)
	lie := newLiar(t, e).tell(t)
	q := attest.Question{Nonce: nonce, Roots: pool(t, maker.Root(t), maker.Issuer(t))}
	wantGrade(t, lie, attest.Question{Nonce: nonce}, attest.Unproven, "AK unproven")
	wantGrade(t, lie, q, attest.Unproven, "not tied")
	wantRefused(t, lie, honest.prove(e, q), "another attestation key")

	c, secret, err := attest.Challenge(lie, q.Roots, q.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := honest.store.Answer(t.Context(), c); err == nil {
		t.Error("the TPM answers for an attestation key that it does not have")
	}
	// He owns the device and asks the TPM with its own key's name: the secret does not open.
	c.AKName = e.TPM.AKName
	if _, err := honest.store.Answer(t.Context(), c); err == nil {
		t.Error("the TPM opens a secret that is bound to another attestation key")
	}
	q.Secret, q.Answer = &secret, &keys.Answer{Version: 1, AKName: lie.TPM.AKName, Secret: make([]byte, 32)}
	wantRefused(t, lie, q, "the answer is wrong")
}

func TestAttributesThatLetAKeyLeaveAreRefused(t *testing.T) {
	e := newDevice(t, tpmtest.Start(t), keys.ECDSAP256).attest(key)
	for why, change := range map[string]func(l *liar){
		"fixedTPM":             func(l *liar) { l.subject.ObjectAttributes.FixedTPM = false },
		"fixedParent":          func(l *liar) { l.subject.ObjectAttributes.FixedParent = false },
		"sensitiveDataOrigin":  func(l *liar) { l.subject.ObjectAttributes.SensitiveDataOrigin = false },
		"encryptedDuplication": func(l *liar) { l.subject.ObjectAttributes.EncryptedDuplication = true },
		"not restricted":       func(l *liar) { l.akArea.ObjectAttributes.Restricted = false },
		"not a signing key":    func(l *liar) { l.akArea.ObjectAttributes.Decrypt = true },
		"moved to another TPM": func(l *liar) { l.akArea.ObjectAttributes.FixedTPM = false },
	} {
		l := newLiar(t, e)
		change(l)
		wantRefused(t, l.tell(t), attest.Question{Nonce: nonce}, why)
	}
}

func TestStatementsOfAnotherKindAreRefused(t *testing.T) {
	e := newDevice(t, tpmtest.Start(t), keys.ECDSAP256).attest(key)
	l := newLiar(t, e)
	l.tell(t)
	honest, err := tpm2.Unmarshal[tpm2.TPMSAttest](l.e.TPM.Attest)
	if err != nil {
		t.Fatal(err)
	}
	for why, change := range map[string]func(s *tpm2.TPMSAttest){
		"endorsement hierarchy": func(s *tpm2.TPMSAttest) { s.QualifiedSigner.Buffer = l.e.TPM.AKName },
		"TPM2_Certify": func(s *tpm2.TPMSAttest) {
			s.Type = tpm2.TPMSTAttestCreation
			s.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &tpm2.TPMSCreationInfo{})
		},
	} {
		s := *honest
		change(&s)
		l.sign(t, s)
		wantRefused(t, l.e, attest.Question{Nonce: nonce}, why)
	}
	// Restricted keys refuse to sign what begins with the magic of a TPM's own statements, and nothing else is one.
	l.signBytes(t, append([]byte{0}, tpm2.Marshal(*honest)[1:]...))
	wantRefused(t, l.e, attest.Question{Nonce: nonce}, "TPM_GENERATED_VALUE")
}

func TestEndorsementKeyOfOnesOwnUnderAGenuineCertificateIsRefused(t *testing.T) {
	p, f := tpmtest.Start(t), newFactory(t)
	f.endorse(p, nil)
	e := newDevice(t, p, keys.ECDSAP256).attest(key)
	q := attest.Question{Nonce: nonce, Roots: f.roots()}
	for why, change := range map[string]func(ek *tpm2.TPMTPublic){
		"of another key":             func(ek *tpm2.TPMTPublic) { _, ek.Unique = software(t) },
		"restricted decryption key":  func(ek *tpm2.TPMTPublic) { ek.ObjectAttributes.Restricted = false },
		"fixedTPM":                   func(ek *tpm2.TPMTPublic) { ek.ObjectAttributes.FixedTPM = false },
		"restricted decryption key ": func(ek *tpm2.TPMTPublic) { ek.ObjectAttributes.SignEncrypt = true },
	} {
		ek, err := tpm2.Unmarshal[tpm2.TPMTPublic](e.TPM.EK)
		if err != nil {
			t.Fatal(err)
		}
		change(ek)
		l := newLiar(t, e)
		l.e.TPM.EK = tpm2.Marshal(*ek)
		wantRefused(t, l.tell(t), q, strings.TrimSpace(why))
		if _, _, err := attest.Challenge(l.e, q.Roots, q.Now); err == nil {
			t.Errorf("%s: he was given a challenge that he can open", why)
		}
	}
}

func TestAttestationKeyThatSignsAnythingGetsNoChallenge(t *testing.T) {
	p, f := tpmtest.Start(t), newFactory(t)
	f.endorse(p, nil)
	l := newLiar(t, newDevice(t, p, keys.ECDSAP256).attest(key))
	l.akArea.ObjectAttributes.Restricted = false
	if _, _, err := attest.Challenge(l.tell(t), f.roots(), time.Time{}); err == nil || !strings.Contains(err.Error(), "not restricted") {
		t.Errorf("challenge: %v", err)
	}
}

func TestEmptySecretIsNoProof(t *testing.T) {
	p, f := tpmtest.Start(t), newFactory(t)
	f.endorse(p, nil)
	e := newDevice(t, p, keys.ECDSAP256).attest(key)
	wantRefused(t, e, attest.Question{Nonce: nonce, Roots: f.roots(),
		Secret: &attest.Secret{Version: 1, AKName: e.TPM.AKName, EK: e.TPM.EK},
		Answer: &keys.Answer{Version: 1, AKName: e.TPM.AKName}}, "the answer is wrong")
}
