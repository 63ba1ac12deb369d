package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/keys"
)

// tpm looks at TPM2_Certify of the key. What the TPM signed comes first, then who signed it.
func (v *Verdict) tpm(e keys.Evidence, key crypto.PublicKey, q Question) error {
	subject, err := parsePublic(e.TPM.Public)
	if err := v.check("key structure", "TPMT_PUBLIC of the same public key", errors.Join(err, isKey(subject, key))); err != nil {
		return err
	}
	if err := v.check("key attributes", "fixedTPM fixedParent sensitiveDataOrigin: it was born in the TPM and cannot leave",
		immovable(subject)); err != nil {
		return err
	}
	ak, err := attestationKey(e.TPM)
	if err := v.check("attestation key", "restricted: it signs only what the TPM itself says", err); err != nil {
		return err
	}
	if err := v.check("signature", "by the attestation key", verifySignature(ak, e.TPM)); err != nil {
		return err
	}
	firmware, err := statement(e, subject)
	if err := v.check("statement", "TPM2_Certify of this key, with this nonce", err); err != nil {
		return err
	}
	return v.endorsed(e, ak, firmware, q)
}

// parse reads a structure that must be the whole of b, in its one encoding.
func parse[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](b []byte) (*T, error) {
	t, err := tpm2.Unmarshal[T, P](b)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tpm2.Marshal(*t), b) {
		return nil, errors.New("more or other bytes than the structure has")
	}
	return t, nil
}

func parsePublic(b []byte) (*tpm2.TPMTPublic, error) {
	p, err := parse[tpm2.TPMTPublic](b)
	if err != nil {
		return nil, fmt.Errorf("public area: %w", err)
	}
	return p, nil
}

func isKey(public *tpm2.TPMTPublic, key crypto.PublicKey) error {
	if public == nil {
		return nil // said already
	}
	k, err := tpm2.Pub(*public)
	if err != nil {
		return err
	}
	if same, ok := k.(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(key) {
		return errors.New("it is of another key")
	}
	return nil
}

// immovable says why the key may have been, or may come to be, outside of its TPM (TPM 2.0 Library, part 1, 27.2:
// duplication needs fixedParent clear; what was imported has sensitiveDataOrigin clear).
func immovable(p *tpm2.TPMTPublic) error {
	a := p.ObjectAttributes
	var missing []error
	for _, m := range []struct {
		set bool
		why string
	}{
		{a.FixedTPM, "fixedTPM is not set: the key can be moved to another TPM"},
		{a.FixedParent, "fixedParent is not set: the key can be moved to another parent"},
		{a.SensitiveDataOrigin, "sensitiveDataOrigin is not set: the key was made outside of the TPM"},
		{!a.EncryptedDuplication, "encryptedDuplication is set: the key is meant to be moved"},
	} {
		if !m.set {
			missing = append(missing, errors.New(m.why))
		}
	}
	return errors.Join(missing...)
}

// attestationKey is the key that signed, once it is clear that it signs nothing but what a TPM says. A key that is
// not restricted would sign whatever its owner makes up.
func attestationKey(t *keys.TPMEvidence) (*tpm2.TPMTPublic, error) {
	ak, err := parsePublic(t.AK)
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(ak)
	if err != nil {
		return nil, err
	}
	a := ak.ObjectAttributes
	switch {
	case !bytes.Equal(name.Buffer, t.AKName):
		return nil, errors.New("ak_name is not its Name")
	case !a.Restricted:
		return nil, errors.New("it is not restricted: it signs whatever its owner makes up")
	case !a.SignEncrypt || a.Decrypt:
		return nil, errors.New("it is not a signing key")
	case ak.Type != tpm2.TPMAlgECC || ak.NameAlg != tpm2.TPMAlgSHA256:
		return nil, errors.New("it is not an ECC key with a SHA-256 Name")
	}
	return ak, immovable(ak)
}

func verifySignature(ak *tpm2.TPMTPublic, t *keys.TPMEvidence) error {
	s, err := parse[tpm2.TPMTSignature](t.Signature)
	if err != nil {
		return err
	}
	e, err := s.Signature.ECDSA()
	if err != nil {
		return err
	}
	if e.Hash != tpm2.TPMAlgSHA256 {
		return fmt.Errorf("hash %#x is not SHA-256", uint16(e.Hash))
	}
	key, err := tpm2.Pub(*ak)
	if err != nil {
		return err
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return errors.New("the attestation key is not an ECDSA key")
	}
	digest := sha256.Sum256(t.Attest)
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(e.SignatureR.Buffer), new(big.Int).SetBytes(e.SignatureS.Buffer)) {
		return errors.New("the attestation key did not sign this statement")
	}
	return nil
}

// statement checks what was signed, and returns the TPM's firmware version.
func statement(e keys.Evidence, subject *tpm2.TPMTPublic) (string, error) {
	s, err := parse[tpm2.TPMSAttest](e.TPM.Attest)
	if err != nil {
		return "", err
	}
	// A restricted key signs also what it is given, but nothing that begins like this.
	if s.Magic != tpm2.TPMGeneratedValue {
		return "", errors.New("it was not made by a TPM: TPM_GENERATED_VALUE is missing")
	}
	certified, err := s.Attested.Certify()
	if err != nil {
		return "", fmt.Errorf("not an answer to TPM2_Certify: %w", err)
	}
	name, err := tpm2.ObjectName(subject)
	if err != nil {
		return "", err
	}
	switch {
	case !bytes.Equal(certified.Name.Buffer, name.Buffer):
		return "", errors.New("it is about another key")
	case !bytes.Equal(s.ExtraData.Buffer, e.Statement()):
		return "", errors.New("its extraData is not for this nonce and this evidence: a field was changed afterwards")
	case !bytes.Equal(s.QualifiedSigner.Buffer, primaryOf(tpm2.TPMRHEndorsement, e.TPM.AKName)):
		return "", errors.New("who signed it is not a primary key of the endorsement hierarchy")
	}
	return fmt.Sprintf("%d.%d", s.FirmwareVersion>>48, s.FirmwareVersion>>32&0xFFFF), nil
}

// primaryOf is the Qualified Name of a primary key whose Name has SHA-256 (part 1, 16: nameAlg ‖ H(QN of the parent ‖
// Name), and the Qualified Name of a hierarchy is its handle).
func primaryOf(hierarchy tpm2.TPMHandle, name []byte) []byte {
	sum := sha256.Sum256(append(bytes.Clone(tpm2.HandleName(hierarchy).Buffer), name...))
	return append([]byte{0, byte(tpm2.TPMAlgSHA256)}, sum[:]...)
}
