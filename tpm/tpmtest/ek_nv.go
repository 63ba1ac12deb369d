package tpmtest

import (
	"crypto"

	"github.com/google/go-tpm/tpm2"
)

// WriteNV puts content at the index, readable by everybody, as a manufacturer does with certificates.
func (p *TPM) WriteNV(index tpm2.TPMHandle, content []byte) {
	p.t.Helper()
	area := tpm2.TPMSNVPublic{NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(content)),
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, NoDA: true, NT: tpm2.TPMNTOrdinary}}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: empty(tpm2.TPMRHOwner), PublicInfo: tpm2.New2B(area)}).Execute(p); err != nil {
		p.t.Fatal(err)
	}
	for at := 0; at < len(content); at += 512 {
		// The Name changes with the first write.
		now, err := tpm2.NVReadPublic{NVIndex: index}.Execute(p)
		if err != nil {
			p.t.Fatal(err)
		}
		if _, err := (tpm2.NVWrite{AuthHandle: empty(tpm2.TPMRHOwner), NVIndex: tpm2.NamedHandle{Handle: index, Name: now.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: content[at:min(at+512, len(content))]}, Offset: uint16(at)}).Execute(p); err != nil {
			p.t.Fatal(err)
		}
	}
}

// EndorsementKey is the public half of the P-256 endorsement key that the TCG's default template derives.
func (p *TPM) EndorsementKey() crypto.PublicKey {
	p.t.Helper()
	answer, err := tpm2.CreatePrimary{PrimaryHandle: empty(tpm2.TPMRHEndorsement), InPublic: tpm2.New2B(tpm2.ECCEKTemplate)}.Execute(p)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _, _ = tpm2.FlushContext{FlushHandle: answer.ObjectHandle}.Execute(p) }()
	area, err := answer.OutPublic.Contents()
	if err != nil {
		p.t.Fatal(err)
	}
	key, err := tpm2.Pub(*area)
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}
