package tpm_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

var attestNonce = bytes.Repeat([]byte{7}, 32)

// offline is a verifier without a TPM, who knows no manufacturer either.
func offline(e keys.Evidence, nonce []byte) error {
	_, err := attest.Verify(e, attest.Question{Nonce: nonce})
	return err
}

// evidence is about the key, and checked by who has no TPM.
func evidence(t *testing.T, s *tpm.Store, name string) keys.Evidence {
	t.Helper()
	e, err := s.Attest(t.Context(), name, attestNonce)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := attest.Verify(e, attest.Question{Nonce: attestNonce}); err != nil || v.Grade != attest.Unproven {
		t.Errorf("%s: grade %s: %v", name, v.Grade, err)
	}
	return e
}

func TestKeysWithPasswordsPoliciesAndHandlesAreAttested(t *testing.T) {
	v := newVendor(t, keys.ECDSAP256, 11)
	for name, c := range map[string]tpm.Config{
		"password": {KeyAuthFile: credential(t, canary)},
		"handle":   {Persistent: 0x81008000},
		"policy":   {PCR: v.pcr},
	} {
		p := tpmtest.Start(t)
		c.TCTI, c.Dir = p.TCTI(), t.TempDir()
		v.approve(t, p)
		s := open(t, c)
		create(t, s, name)
		evidence(t, s, name)
		evidence(t, open(t, c), name) // also by another process
		wantEmpty(t, p, "an attestation")
		wantNoSessions(t, p)
	}
}

func TestAttestationNeedsNoApprovalOfThePCRs(t *testing.T) {
	p, v := tpmtest.Start(t), newVendor(t, keys.ECDSAP256, 11)
	v.approve(t, p)
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), PCR: v.pcr})
	create(t, s, "device-g1")
	p.Extend(11, "an update that nobody signed")
	evidence(t, s, "device-g1")
}

func TestAttestationKeyIsTheSameForTheLifeOfTheChip(t *testing.T) {
	p := tpmtest.Start(t)
	names := map[string]bool{}
	for range 2 {
		s := store(t, p)
		create(t, s, "device-g1")
		names[string(evidence(t, s, "device-g1").TPM.AKName)] = true
		p.Restart()
		names[string(evidence(t, s, "device-g1").TPM.AKName)] = true
		p.Clear() // the owner's keys are gone
	}
	if len(names) != 1 {
		t.Errorf("%d attestation keys", len(names))
	}
	other := tpmtest.Start(t)
	s := store(t, other)
	create(t, s, "device-g1")
	if names[string(evidence(t, s, "device-g1").TPM.AKName)] {
		t.Error("two chips have the same attestation key")
	}
}

func TestKeyThatMayLeaveTheTPMIsCertifiedAndRefused(t *testing.T) {
	p, dir := tpmtest.Start(t), t.TempDir()
	write(t, filepath.Join(dir, "loose.tss2.pem"), looseKey(t, p))
	s := open(t, tpm.Config{TCTI: p.TCTI(), Dir: dir})
	e, err := s.Attest(t.Context(), "loose", attestNonce)
	if err != nil {
		t.Fatal(err)
	}
	_, err = attest.Verify(e, attest.Question{Nonce: attestNonce})
	if err == nil || !strings.Contains(err.Error(), "fixedTPM") || !strings.Contains(err.Error(), "fixedParent") {
		t.Errorf("a key that can be duplicated: %v", err)
	}
}

// looseKey is the file of a key without fixedTPM and fixedParent under the storage root key.
func looseKey(t *testing.T, p *tpmtest.TPM) []byte {
	t.Helper()
	root := tpm2.ECCSRKTemplate
	root.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	srk, err := tpm2.CreatePrimary{PrimaryHandle: owner, InPublic: tpm2.New2B(root)}.Execute(p)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: srk.ObjectHandle}.Execute(p) }()
	made, err := tpm2.Create{ParentHandle: tpm2.AuthHandle{Handle: srk.ObjectHandle, Name: srk.Name, Auth: tpm2.PasswordAuth(nil)},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true},
			Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256})})}.Execute(p)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Type            asn1.ObjectIdentifier
		EmptyAuth       bool `asn1:"explicit,tag:0"`
		Parent          int64
		Public, Private []byte
	}{asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}, true, 0x40000001, tpm2.Marshal(made.OutPublic), tpm2.Marshal(made.OutPrivate)})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "TSS2 PRIVATE KEY", Bytes: der})
}

func TestEndorsementHierarchyWithAPasswordIsSaidWithTheRemedy(t *testing.T) {
	p := tpmtest.Start(t)
	s := store(t, p)
	create(t, s, "device-g1")
	endorsement := tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)}
	if _, err := (tpm2.HierarchyChangeAuth{AuthHandle: endorsement, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")}}).Execute(p); err != nil {
		t.Fatal(err)
	}
	_, err := s.Attest(t.Context(), "device-g1", attestNonce)
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "tpm2_changeauth -c endorsement") {
		t.Errorf("%v (hint %q)", err, fault.Hint(err))
	}
	wantEmpty(t, p, "a refusal")
	open, err := s.Open(t.Context(), "device-g1")
	if err != nil {
		t.Fatal(err)
	}
	verify(t, open) // it is only evidence that cannot be had
}

func TestUnreadableEndorsementCertificateIsHandedOnAndTheEvidenceStands(t *testing.T) {
	p := tpmtest.Start(t)
	p.WriteNV(0x01c0000a, []byte{0x30, 3, 2, 1, 0, 0xFF, 0xFF}) // DER, and no certificate
	s := store(t, p)
	create(t, s, "device-g1")
	if e := evidence(t, s, "device-g1"); len(e.TPM.EKChain) != 1 || len(e.TPM.EKChain[0]) != 5 {
		t.Errorf("chain %x", e.TPM.EKChain)
	}
}

func TestCertificateOfAKeyThatTheTPMDoesNotHaveIsNotItsOwn(t *testing.T) {
	p := tpmtest.Start(t)
	p.WriteNV(0x01c0000a, keystest.NewAuthority(t).Certificate.Raw)
	s := store(t, p)
	create(t, s, "device-g1")
	if e := evidence(t, s, "device-g1"); len(e.TPM.EKChain) != 0 || len(e.TPM.EK) == 0 {
		t.Errorf("chain %x, endorsement key %x", e.TPM.EKChain, e.TPM.EK)
	}
}

func TestEmptyCertificateIndexIsNoCertificate(t *testing.T) {
	p := tpmtest.Start(t)
	p.WriteNV(0x01c0000a, bytes.Repeat([]byte{0xFF}, 700))
	s := store(t, p)
	create(t, s, "device-g1")
	if e := evidence(t, s, "device-g1"); len(e.TPM.EKChain) != 0 || len(e.TPM.EK) == 0 {
		t.Errorf("chain %x, endorsement key %x", e.TPM.EKChain, e.TPM.EK)
	}
}

func TestInterruptedAttestationLeavesNothingInTheTPM(t *testing.T) {
	maker, p := tpmtest.NewMaker(t), tpmtest.Start(t)
	maker.Endorse(p)
	s := store(t, p)
	create(t, s, "device-g1")
	e := evidence(t, s, "device-g1")
	nonsense := keys.Challenge{Version: 1, AKName: e.TPM.AKName, EK: e.TPM.EK, Credential: make([]byte, 68), Seed: make([]byte, 256)}
	for _, command := range []tpm2.TPMCC{tpm2.TPMCCCreatePrimary, tpm2.TPMCCCertify, tpm2.TPMCCNVRead, tpm2.TPMCCReadPublic,
		tpm2.TPMCCPolicySecret, tpm2.TPMCCActivateCredential} {
		p.Refuse(command, 0, 1, tpm2.TPMRCFailure)
		_, attestErr := s.Attest(t.Context(), "device-g1", attestNonce)
		_, answerErr := s.Answer(t.Context(), nonsense)
		if attestErr == nil && answerErr == nil {
			t.Errorf("%v: not refused", command)
		}
		wantEmpty(t, p, "an interruption")
		wantNoSessions(t, p)
		evidence(t, s, "device-g1")
	}
}
