package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

const registration = "registration"

var sasText = []byte("0ne00ABCDEF%2Fregistrations%2Fgateway-7\n1900000000")

// endorsement is what the device shows to the service.
func endorsement(t *testing.T, s *tpm.Store) (ek, srk []byte) {
	t.Helper()
	ek, srk, err := s.Endorsement(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return ek, srk
}

// activate has the service make a key for this chip, and the chip take it.
func activate(t *testing.T, s *tpm.Store) *service {
	t.Helper()
	cloud := newService()
	ek, srk := endorsement(t, s)
	if err := s.Activate(t.Context(), registration, cloud.blob(t, ek, srk)); err != nil {
		t.Fatal(err)
	}
	return cloud
}

func wantSum(t *testing.T, s *tpm.Store, cloud *service, data []byte) {
	t.Helper()
	sum, err := s.HMAC(t.Context(), registration, data)
	if err != nil || !bytes.Equal(sum, cloud.sum(data)) {
		t.Errorf("hmac of %d bytes: %x, %v", len(data), sum, err)
	}
}

func TestTheServiceKnowsTheHMACsOfItsKey(t *testing.T) {
	for kind, size := range map[string]int{tpm.EndorsementRSA: 316, tpm.EndorsementECC: 124} {
		p := tpmtest.Start(t)
		s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Endorsement: kind})
		if ek, srk := endorsement(t, s); len(ek) != size || len(srk) != 284 {
			t.Errorf("%s: endorsement key of %d bytes, storage root key of %d", kind, len(ek), len(srk))
		}
		wantSum(t, s, activate(t, s), sasText)
		wantEmpty(t, p, kind)
		wantNoSessions(t, p)
	}
}

func TestTheEndorsementKeyIsTheOneThatTheMakerCertified(t *testing.T) {
	maker, p := tpmtest.NewMaker(t), tpmtest.Start(t)
	maker.Endorse(p) // RSA 2048 at 0x81010001
	s := store(t, p)
	ek, _ := endorsement(t, s)
	kept, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81010001)}.Execute(p)
	if err != nil || !bytes.Equal(ek, tpm2.Marshal(kept.OutPublic)) {
		t.Errorf("another key than the one at 0x81010001: %v", err)
	}
	wantSum(t, s, activate(t, s), sasText)
	if n := p.Count(tpm2.TPMCCCreatePrimary); n != 1 {
		t.Errorf("%d keys derived, want the storage root key, once", n)
	}

	p = tpmtest.Start(t)
	p.WriteNV(0x01c0000a, []byte("a certificate for the P-256 key alone"))
	s = store(t, p)
	if ek, _ := endorsement(t, s); len(ek) != 124 {
		t.Errorf("endorsement key of %d bytes, want that of P-256", len(ek))
	}
}

// keep leaves a storage root key at 0x81000001, as provisioning does.
func keep(t *testing.T, p *tpmtest.TPM, template tpm2.TPMTPublic) {
	t.Helper()
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Name: tpm2.HandleName(tpm2.TPMRHOwner), Auth: tpm2.PasswordAuth(nil)}
	root, err := tpm2.CreatePrimary{PrimaryHandle: owner, InPublic: tpm2.New2B(template)}.Execute(p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.EvictControl{Auth: owner, ObjectHandle: &tpm2.NamedHandle{Handle: root.ObjectHandle, Name: root.Name},
		PersistentHandle: 0x81000001}.Execute(p)
	_, _ = tpm2.FlushContext{FlushHandle: root.ObjectHandle}.Execute(p)
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheStorageRootKeyThatTheTPMKeepsIsUsedWhereItIsRSA(t *testing.T) {
	for name, template := range map[string]tpm2.TPMTPublic{"rsa": tpm2.RSASRKTemplate, "ecc": tpm2.ECCSRKTemplate} {
		p := tpmtest.Start(t)
		keep(t, p, template)
		p.Own("of the owner")
		c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
		if name == "ecc" {
			c.OwnerAuthFile = credential(t, "of the owner") // to derive the RSA one
		}
		cloud := activate(t, open(t, c))
		wantSum(t, open(t, c), cloud, sasText)
		wantEmpty(t, p, name)
		wantNoSessions(t, p)
	}
}

func TestTheHMACKeySurvivesTheAgentAndThePower(t *testing.T) {
	p := tpmtest.Start(t)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
	s := open(t, c)
	cloud := activate(t, s)
	p.Restart()
	wantSum(t, s, cloud, sasText)
	wantSum(t, open(t, c), cloud, sasText)
	look, err := tpm.Look(c)
	if err != nil {
		t.Fatal(err)
	}
	wantSum(t, look, cloud, sasText)
	wantEmpty(t, p, "the restart")
}

func TestANewAuthenticationKeyReplacesTheOneBefore(t *testing.T) {
	p := tpmtest.Start(t)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
	s := open(t, c)
	activate(t, s)
	hub := activate(t, s)
	wantSum(t, s, hub, sasText)
	wantSum(t, open(t, c), hub, sasText)
	if _, err := s.HMAC(t.Context(), "another", sasText); !errors.Is(err, keys.ErrNotFound) {
		t.Errorf("a key that nobody gave us: %v", err)
	}
}

func TestDataLongerThanTheTPMsBufferIsSentInPieces(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	cloud := activate(t, s)
	for _, n := range []int{0, 1, 256, 257, 1024, 1025, 2048, 5000} {
		wantSum(t, s, cloud, bytes.Repeat([]byte{'x'}, n))
	}
	if n := p.Count(tpm2.TPMCCHMACStart); n != 3 {
		t.Errorf("%d sequences, want those of more than 1024 bytes", n)
	}
	wantEmpty(t, p, "the sequences")
}

func TestHMACKeysAreNoneOfTheStoresKeys(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir})
	cloud := activate(t, s)
	create(t, s, registration) // even by that name
	if names, err := s.Names(t.Context()); err != nil || !slices.Equal(names, []string{registration}) {
		t.Errorf("names %q, %v", names, err)
	}
	if err := s.Delete(t.Context(), registration); err != nil {
		t.Fatal(err)
	}
	wantSum(t, s, cloud, sasText)
	for _, file := range []string{"registration.hmac.pem", "srk.json"} {
		if b := read(t, filepath.Join(dir, file)); bytes.Contains(b, cloud.key) {
			t.Errorf("%s holds the key in clear", file)
		}
	}
	if len(p.Persistent()) != 0 {
		t.Errorf("the TPM keeps %#x", p.Persistent())
	}
}

func TestHMACKeyOfAClearedTPMIsGone(t *testing.T) {
	p := tpmtest.Start(t)
	c := tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir()}
	s := open(t, c)
	activate(t, s)
	ek, srk := endorsement(t, s)
	create(t, s, "device-g1") // writes the record anew
	p.Clear()
	for _, s := range []*tpm.Store{s, open(t, c)} {
		_, err := s.HMAC(t.Context(), registration, sasText)
		if !errors.Is(err, keys.ErrGone) || fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
			t.Errorf("%v (%v, hint %q)", err, fault.Of(err), fault.Hint(err))
		}
	}
	// The chip is the same one to the cloud, and takes a new key.
	ek2, srk2 := endorsement(t, s)
	if !bytes.Equal(ek, ek2) || bytes.Equal(srk, srk2) {
		t.Error("the endorsement key changed, or the storage root key did not")
	}
	wantSum(t, s, activate(t, s), sasText)
}

func TestADamagedFileOfAnHMACKeyAsksForAPerson(t *testing.T) {
	p := tpmtest.Start(t)
	dir := t.TempDir()
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir})
	activate(t, s)
	file := filepath.Join(dir, "registration.hmac.pem")
	whole := read(t, file)
	for name, content := range map[string][]byte{"empty": {}, "half": whole[:len(whole)/2], "another kind": mustPEM(t, s, dir)} {
		write(t, file, content)
		_, err := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir}).HMAC(t.Context(), registration, sasText)
		if fault.Of(err) != fault.Operator || fault.Hint(err) == "" || errors.Is(err, keys.ErrGone) {
			t.Errorf("%s: %v (%v, hint %q)", name, err, fault.Of(err), fault.Hint(err))
		}
	}
}

// mustPEM is the file of a signing key.
func mustPEM(t *testing.T, s *tpm.Store, dir string) []byte {
	t.Helper()
	create(t, s, "device-g1")
	return read(t, filepath.Join(dir, "device-g1.tss2.pem"))
}

func TestLockoutOfTheHMACKeySaysWhenItEnds(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	cloud := activate(t, s)
	p.Patience(1, time.Hour)
	p.Guess(4)
	_, err := s.HMAC(t.Context(), registration, sasText)
	if fault.Of(err) != fault.Operator || fault.RetryAfter(err) == 0 {
		t.Errorf("%v (%v)", err, fault.Of(err))
	}
	p.Forgive()
	wantSum(t, s, cloud, sasText)
}

func TestUnknownKindOfEndorsementKeyIsRefused(t *testing.T) {
	_, err := tpm.Open(tpm.Config{Dir: t.TempDir(), Endorsement: "dsa"})
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "rsa or ecc") {
		t.Errorf("%v (hint %q)", err, fault.Hint(err))
	}
}

func TestAStoreWithOneMoreKeyIsStillEndorsed(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	cloud := activate(t, s)
	extra, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	e, ok := keys.With(s, "handle:0x81010099", extra).(keys.Endorsed)
	if !ok {
		t.Fatal("it is not endorsed")
	}
	if sum, err := e.HMAC(t.Context(), registration, sasText); err != nil || !bytes.Equal(sum, cloud.sum(sasText)) {
		t.Errorf("%x, %v", sum, err)
	}
}

func TestTheStoresOwnKeysSignWhileTheCloudsKeyIsUsed(t *testing.T) {
	p := tpmtest.Start(t)
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Persistent: 0x81008000})
	key := create(t, s, "device-g1")
	cloud := activate(t, s)
	for range 3 {
		if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
			t.Error(err)
		}
		wantSum(t, s, cloud, sasText)
	}
}
