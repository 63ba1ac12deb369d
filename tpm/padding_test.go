package tpm_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// chosen is the signer's word on its TLS signature schemes.
func chosen(t *testing.T, key crypto.Signer) []tls.SignatureScheme {
	t.Helper()
	limited, ok := key.(interface{ SignatureSchemes() []tls.SignatureScheme })
	if !ok {
		t.Fatal("the signer does not say its signature schemes")
	}
	return limited.SignatureSchemes()
}

func padding(t *testing.T, s *tpm.Store, name string) string {
	t.Helper()
	facts, err := s.Inspect(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return facts.Padding
}

func handshakes(t *testing.T, cert tls.Certificate, versions ...uint16) {
	t.Helper()
	authority := keystest.NewAuthority(t)
	own := authority.Certify(t, "device-1", cert.PrivateKey.(crypto.Signer))
	own.SupportedSignatureAlgorithms = cert.SupportedSignatureAlgorithms
	for _, v := range versions {
		if err := authority.Handshake(t, own, v); err != nil {
			t.Errorf("%s: %v", tls.VersionName(v), err)
		}
	}
}

func TestRSAKeyIsPaddedHereWhereTheTPMPadsWrongly(t *testing.T) {
	p := tpmtest.Start(t)
	p.LongSalt()
	dir := t.TempDir()
	c := tpm.Config{TCTI: p.TCTI(), Dir: dir, Algorithm: keys.RSA2048}
	s := open(t, c)
	verify(t, create(t, s, "device-g1"))
	s = open(t, c)
	key, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, key)
	if got := padding(t, s, "device-g1"); got != tpm.PaddedHere {
		t.Errorf("padding %q", got)
	}
	if got := chosen(t, key); got != nil {
		t.Errorf("limited to %v", got)
	}
	handshakes(t, tls.Certificate{PrivateKey: key}, tls.VersionTLS12, tls.VersionTLS13)
	wantEmpty(t, p, "padding")
}

func TestSignOnlyKeyInATPMThatPadsWronglyIsHeldToTLS12(t *testing.T) {
	p := tpmtest.Start(t)
	p.LongSalt()
	key, err := store(t, p).Load(t.Context(), signOnly(t, p))
	if err != nil {
		t.Fatal(err)
	}
	want := []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}
	if got := chosen(t, key); !slices.Equal(got, want) {
		t.Fatalf("limited to %v", got)
	}
	_, err = key.Sign(rand.Reader, make([]byte, 32), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	if fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), "TLS 1.2") {
		t.Errorf("PSS: %v (%v)", err, fault.Of(err))
	}
	handshakes(t, tls.Certificate{PrivateKey: key, SupportedSignatureAlgorithms: chosen(t, key)}, tls.VersionTLS12)
}

// signOnly is a key file as other programs make them: RSA-2048, for signatures only.
func signOnly(t *testing.T, p *tpmtest.TPM) []byte {
	t.Helper()
	template := tpm2.ECCSRKTemplate
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	root, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(p.Relayed())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: root.ObjectHandle}.Execute(p.Relayed()) }()
	made, err := tpm2.Create{ParentHandle: tpm2.AuthHandle{Handle: root.ObjectHandle, Name: root.Name, Auth: tpm2.PasswordAuth(nil)},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true, NoDA: true},
			Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048})})}.Execute(p.Relayed())
	if err != nil {
		t.Fatal(err)
	}
	return keyFile(t, false, tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate))
}

func TestPaddingHereCanBeAskedFor(t *testing.T) {
	p := tpmtest.Start(t)
	for _, a := range []keys.Algorithm{keys.RSA2048, keys.RSA3072} {
		c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Algorithm: a}
		s := open(t, c)
		verify(t, create(t, s, "device-g1"))
		if got := padding(t, s, "device-g1"); got != tpm.PaddedByTPM {
			t.Errorf("%s: padding %q without being asked", a, got)
		}
		c.PadHere = true
		s = open(t, c)
		key := create(t, s, "device-g2")
		verify(t, key)
		if got := padding(t, s, "device-g2"); got != tpm.PaddedHere {
			t.Errorf("%s: padding %q", a, got)
		}
		handshakes(t, tls.Certificate{PrivateKey: key}, tls.VersionTLS12, tls.VersionTLS13)
	}
	wantEmpty(t, p, "padding")
}
