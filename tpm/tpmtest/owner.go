package tpmtest

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/go-tpm/tpm2"
)

// Clear makes the TPM a blank one, as its owner does before he sells the device: all that it made is worthless.
func (p *TPM) Clear() {
	p.t.Helper()
	if _, err := (tpm2.Clear{AuthHandle: empty(tpm2.TPMRHLockout)}).Execute(p); err != nil {
		p.t.Fatal(err)
	}
}

// Own gives the owner hierarchy, which has none yet, a password.
func (p *TPM) Own(password string) {
	p.t.Helper()
	_, err := tpm2.HierarchyChangeAuth{AuthHandle: empty(tpm2.TPMRHOwner), NewAuth: tpm2.TPM2BAuth{Buffer: []byte(password)}}.Execute(p)
	if err != nil {
		p.t.Fatal(err)
	}
}

// Extend measures what into a PCR of the SHA-256 bank, as a boot loader does.
func (p *TPM) Extend(pcr int, what string) {
	p.t.Helper()
	sum := sha256.Sum256([]byte(what))
	h := tpm2.TPMHandle(pcr)
	_, err := tpm2.PCRExtend{PCRHandle: tpm2.AuthHandle{Handle: h, Name: tpm2.HandleName(h), Auth: tpm2.PasswordAuth(nil)},
		Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}}}.Execute(p)
	if err != nil {
		p.t.Fatal(err)
	}
}

// PCR is the value of a PCR of the SHA-256 bank.
func (p *TPM) PCR(n int) []byte {
	p.t.Helper()
	selection := make([]byte, 3)
	selection[n/8] = 1 << (n % 8)
	answer, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{
		{Hash: tpm2.TPMAlgSHA256, PCRSelect: selection}}}}.Execute(p)
	if err != nil || len(answer.PCRValues.Digests) != 1 {
		p.t.Fatalf("read PCR %d: %v", n, err)
	}
	return answer.PCRValues.Digests[0].Buffer
}

// Tries is how many wrong passwords the TPM has counted.
func (p *TPM) Tries() int {
	p.t.Helper()
	answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapTPMProperties, Property: uint32(tpm2.TPMPTLockoutCounter), PropertyCount: 1}.Execute(p)
	if err != nil {
		p.t.Fatal(err)
	}
	list, err := answer.CapabilityData.Data.TPMProperties()
	if err != nil || len(list.TPMProperty) != 1 {
		p.t.Fatal("the TPM does not say how many wrong passwords it counted", err)
	}
	return int(list.TPMProperty[0].Value)
}

// Forgive ends a lockout, as tpm2_dictionarylockout --clear-lockout does. go-tpm does not have the command.
func (p *TPM) Forgive() {
	p.t.Helper()
	command := []byte{0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x39, 0x40, 0, 0, 0x0A} // tag, size, code, TPM_RH_LOCKOUT
	command = append(command, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0)         // the empty password
	if answer, err := p.Send(command); err != nil || binary.BigEndian.Uint32(answer[6:]) != 0 {
		p.t.Fatalf("end the lockout: % x: %v", answer, err)
	}
}

// Loaded lists the handles of the objects that lie in the TPM's transient memory.
func (p *TPM) Loaded() []uint32 { return p.list(0x80000000) }

// Sessions is the number of sessions that lie in the TPM.
func (p *TPM) Sessions() int { return len(p.list(0x02000000)) }

// Persistent lists the handles of the keys that the TPM keeps over a power cut.
func (p *TPM) Persistent() []uint32 { return p.list(0x81000000) }

func (p *TPM) list(first uint32) []uint32 {
	p.t.Helper()
	answer, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 64}.Execute(p)
	if err != nil {
		p.t.Fatal(err)
	}
	list, err := answer.CapabilityData.Data.Handles()
	if err != nil {
		p.t.Fatal(err)
	}
	var handles []uint32
	for _, h := range list.Handle {
		handles = append(handles, uint32(h))
	}
	return handles
}
