package tpm

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// Attest implements keys.Attester: TPM2_Certify of the key by the attestation key.
func (s *Store) Attest(ctx context.Context, name string, nonce []byte) (keys.Evidence, error) {
	if err := errors.Join(keys.CheckName(name), keys.CheckNonce(nonce)); err != nil {
		return keys.Evidence{}, fault.As(fault.Permanent, fmt.Errorf("attest key: %w", err))
	}
	var e keys.Evidence
	err := s.operate(ctx, func(t *session) error {
		k, err := s.open(t, name)
		if err != nil {
			return err
		}
		t.flushAll() // what opening it has loaded; there is room for few
		e, err = k.evidence(t, nonce)
		return err
	})
	if err != nil {
		return keys.Evidence{}, fmt.Errorf("attest key %s: %w", name, err)
	}
	return e, nil
}

func (k *key) evidence(t *session, nonce []byte) (keys.Evidence, error) {
	public, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return keys.Evidence{}, err
	}
	ek, err := t.endorsement()
	if err != nil {
		return keys.Evidence{}, err
	}
	e := keys.Evidence{Version: keys.EvidenceVersion, Kind: keys.TPMCertify, PublicKey: public, Nonce: nonce,
		TPM: &keys.TPMEvidence{EK: tpm2.Marshal(ek.public), EKChain: ek.chain}}
	err = k.certify(t, &e)
	if k.displaced(err) {
		err = k.certify(t, &e)
	}
	return e, err
}

// certify fills in what the TPM says of the key.
func (k *key) certify(t *session, e *keys.Evidence) error {
	subject, err := k.administered(t)
	if err != nil {
		return err
	}
	ak, public, err := t.attestationKey()
	if err != nil {
		return err
	}
	// The scheme is the attestation key's own, since it is restricted.
	a, err := t.run(tpm2.TPMCCCertify, []object{subject, ak}, sized(e.Statement()), u16(tpm2.TPMAlgNull))
	k.learn(err)
	if err != nil {
		return label("certify the key", err)
	}
	e.TPM.Public = tpm2.Marshal(k.blob.public)
	e.TPM.Attest, e.TPM.Signature = a.sized(), a.rest
	e.TPM.AK, e.TPM.AKName = public, ak.name.Buffer
	return a.whole()
}

// administered is the loaded key, opened for TPM2_Certify, which is its administrator's to do: that needs the key's
// password, and not the policy that opens it for signing (TPM 2.0 Library, part 1, 19.7.2; adminWithPolicy is clear).
func (k *key) administered(t *session) (object, error) {
	h, err := k.locate(t)
	if err != nil {
		return object{}, err
	}
	if k.blob.public.ObjectAttributes.UserWithAuth {
		return k.authorize(t, h)
	}
	return password(h, k.blob.name), nil
}

// Answer implements keys.Prover: TPM2_ActivateCredential.
func (s *Store) Answer(ctx context.Context, c keys.Challenge) (keys.Answer, error) {
	var secret []byte
	err := s.operate(ctx, func(t *session) (err error) {
		secret, err = t.activate(c)
		return err
	})
	if err != nil {
		return keys.Answer{}, fmt.Errorf("answer the challenge: %w", err)
	}
	return keys.Answer{Version: keys.EvidenceVersion, AKName: c.AKName, Secret: secret}, nil
}

func (t *session) activate(c keys.Challenge) ([]byte, error) {
	found, err := t.endorsement()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tpm2.Marshal(found.public), c.EK) {
		return nil, elsewhere("endorsement")
	}
	ak, _, err := t.attestationKey()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(ak.name.Buffer, c.AKName) {
		return nil, elsewhere("attestation")
	}
	ek, err := t.endorsementKey(found)
	if err != nil {
		return nil, err
	}
	secret, err := t.openCredential(ak, ek, c.Credential, c.Seed)
	return secret, label("activate the credential", err)
}

// openCredential is TPM2_ActivateCredential: what was encrypted to the endorsement key for the key active.
func (t *session) openCredential(active, ek object, credential, seed []byte) ([]byte, error) {
	a, err := t.run(tpm2.TPMCCActivateCredential, []object{active, ek}, sized(credential), sized(seed))
	if err != nil {
		return nil, err
	}
	return a.sized(), a.whole()
}

func elsewhere(which string) error {
	return fault.AskOperator(fmt.Errorf("the challenge is for another %s key than this TPM's", which),
		"answer it on the device that the evidence came from")
}

// attestationTemplate is a key that signs only what the TPM itself says (restricted). It is a primary key of the
// endorsement hierarchy: the same template is the same key for the life of the chip, also when the owner clears it,
// and nothing needs to be stored. Its unique field keeps it apart from other programs' keys.
func attestationTemplate() tpm2.TPMTPublic {
	unique := make([]byte, 32)
	copy(unique, "devid-agent attestation key 1")
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256})}}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: unique}}),
	}
}

// attestationKey derives the attestation key, and returns its TPMT_PUBLIC too. The session flushes it.
func (t *session) attestationKey() (object, []byte, error) {
	ak, public, err := t.endorsementPrimary("derive the attestation key", attestationTemplate())
	if err != nil {
		return object{}, nil, err
	}
	return ak, tpm2.Marshal(public), nil
}

// endorsementPrimary derives a primary key of the endorsement hierarchy. The session flushes it.
func (t *session) endorsementPrimary(doing string, template tpm2.TPMTPublic) (object, tpm2.TPMTPublic, error) {
	key, public, err := t.primary(hierarchy(tpm2.TPMRHEndorsement), template)
	return key, public, labelEndorsement(doing, err)
}

// labelEndorsement labels what the TPM answers to the use of its endorsement hierarchy, which has its own password
// and its own switch.
func labelEndorsement(doing string, err error) error {
	switch {
	case oneOf(err, tpm2.TPMRCAuthFail, tpm2.TPMRCBadAuth, tpm2.TPMRCAuthMissing):
		return fault.AskOperator(fmt.Errorf("%s: %w", doing, err),
			"the TPM's endorsement hierarchy has a password; attestation needs it without: run tpm2_changeauth -c endorsement -p PASSWORD")
	case oneOf(err, tpm2.TPMRCHierarchy, tpm2.TPMRCDisabled):
		return fault.AskOperator(fmt.Errorf("%s: %w", doing, err),
			"enable the TPM's endorsement hierarchy in the firmware settings of the device")
	}
	return label(doing, err)
}
