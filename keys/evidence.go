package keys

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// EvidenceVersion is the format of Evidence, Challenge and Answer.
const EvidenceVersion = 1

// What an Evidence may stand on.
const (
	TPMCertify     = "tpm2-certify"    // a TPM 2.0 says it, with a signature of its own
	TokenReported  = "pkcs11-reported" // a PKCS#11 module says it, and nobody signs for that
	minNonce       = 16
	maxNonce       = 64
	statementLabel = "devid-agent evidence 1"
)

// Evidence is what hardware can show for where a key was born and that it cannot leave: the file that package
// attest verifies offline. docs/attest.md is its description. Bytes are base64 in JSON, and byte strings in CBOR.
type Evidence struct {
	Version   int            `json:"version"`
	Kind      string         `json:"kind"`       // TPMCertify or TokenReported
	PublicKey []byte         `json:"public_key"` // of the key in question: SubjectPublicKeyInfo, DER
	Nonce     []byte         `json:"nonce"`      // as the verifier gave it
	TPM       *TPMEvidence   `json:"tpm,omitempty"`
	Token     *TokenEvidence `json:"pkcs11,omitempty"`
}

// TPMEvidence is TPM2_Certify of the key by an attestation key. Its structures are as the TPM marshals them (TPM 2.0
// Library, part 2).
type TPMEvidence struct {
	Public    []byte   `json:"tpmt_public"`              // the key: TPMT_PUBLIC
	Attest    []byte   `json:"tpms_attest"`              // what was signed; its extraData is Statement
	Signature []byte   `json:"tpmt_signature"`           // by the attestation key
	AK        []byte   `json:"ak_tpmt_public"`           // the attestation key, a primary key of the endorsement hierarchy
	AKName    []byte   `json:"ak_name"`                  // its Name
	EK        []byte   `json:"ek_tpmt_public,omitempty"` // the endorsement key
	EKChain   [][]byte `json:"ek_chain,omitempty"`       // its certificate and what the TPM holds of the chain, DER
}

// TokenEvidence is what a PKCS#11 module reports of the key, and a signature by the key itself over Statement. ECDSA
// signatures are ASN.1, RSA ones PKCS #1 v1.5, both with SHA-256.
type TokenEvidence struct {
	Module           string `json:"module"`            // path of the library
	Library          string `json:"library"`           // its manufacturer, description and version, as it says
	Token            string `json:"token"`             // label
	Manufacturer     string `json:"manufacturer"`      // of the token
	Model            string `json:"model"`             // of the token
	Serial           string `json:"serial"`            // of the token
	Local            bool   `json:"local"`             // CKA_LOCAL: generated on the token
	AlwaysSensitive  bool   `json:"always_sensitive"`  // CKA_ALWAYS_SENSITIVE
	NeverExtractable bool   `json:"never_extractable"` // CKA_NEVER_EXTRACTABLE
	Signature        []byte `json:"signature"`
}

// Attester is a store that can show where a key was born. It is found by type assertion.
type Attester interface {
	// Attest returns evidence about the key, fresh by nonce, which the verifier chose: 16 to 64 bytes.
	Attest(ctx context.Context, name string, nonce []byte) (Evidence, error)
}

// Challenge is a secret that only the TPM with both this endorsement key and this attestation key can read.
type Challenge struct {
	Version    int    `json:"version"`
	AKName     []byte `json:"ak_name"`
	EK         []byte `json:"ek_tpmt_public"`
	Credential []byte `json:"credential"` // TPMS_ID_OBJECT
	Seed       []byte `json:"seed"`       // for the endorsement key: the content of TPM2B_ENCRYPTED_SECRET
}

// Answer is what the TPM read.
type Answer struct {
	Version int    `json:"version"`
	AKName  []byte `json:"ak_name"`
	Secret  []byte `json:"secret"`
}

// Prover is a store that can prove that the attestation key of its evidence lives in one TPM with the endorsement
// key. It is found by type assertion.
type Prover interface {
	// Answer returns what only this hardware could read.
	Answer(ctx context.Context, c Challenge) (Answer, error)
}

// CheckNonce says why nonce cannot make evidence fresh, or nil.
func CheckNonce(nonce []byte) error {
	if len(nonce) < minNonce || len(nonce) > maxNonce {
		return fmt.Errorf("nonce of %d bytes: the verifier chooses %d to %d random ones", len(nonce), minNonce, maxNonce)
	}
	return nil
}

// Statement is what the hardware signs: the SHA-256 of all that the evidence says and that its signature would not
// cover otherwise, each field after its length as 4 bytes, big-endian. Nobody can put another nonce, endorsement
// certificate or attribute into the evidence unseen.
func (e *Evidence) Statement() []byte {
	s := statement{sha256.New()}
	s.add([]byte(statementLabel), []byte(e.Kind), e.Nonce, e.PublicKey)
	if t := e.TPM; t != nil {
		s.add(t.EK)
		s.add(t.EKChain...)
	}
	if t := e.Token; t != nil {
		for _, text := range []string{t.Module, t.Library, t.Token, t.Manufacturer, t.Model, t.Serial} {
			s.add([]byte(text))
		}
		s.add([]byte{truth(t.Local), truth(t.AlwaysSensitive), truth(t.NeverExtractable)})
	}
	return s.Sum(nil)
}

type statement struct{ hash.Hash }

func (s statement) add(fields ...[]byte) {
	for _, f := range fields {
		s.Write(binary.BigEndian.AppendUint32(nil, uint32(len(f))))
		s.Write(f)
	}
}

func truth(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (w *with) Attest(ctx context.Context, name string, nonce []byte) (Evidence, error) {
	a, ok := w.Store.(Attester)
	if !ok || name == w.name {
		return Evidence{}, fmt.Errorf("attest key %s: %w", name, errors.ErrUnsupported)
	}
	return a.Attest(ctx, name, nonce)
}

func (w *with) Answer(ctx context.Context, c Challenge) (Answer, error) {
	p, ok := w.Store.(Prover)
	if !ok {
		return Answer{}, fmt.Errorf("answer the challenge: %w", errors.ErrUnsupported)
	}
	return p.Answer(ctx, c)
}
