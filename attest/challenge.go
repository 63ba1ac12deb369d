package attest

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/keys"
)

// Secret is what the verifier keeps of a challenge. Who has it can answer without a TPM.
type Secret struct {
	Version int    `json:"version"`
	AKName  []byte `json:"ak_name"`
	EK      []byte `json:"ek_tpmt_public"`
	Secret  []byte `json:"secret"`
}

// secretSize fits into the smallest Name algorithm of endorsement keys, SHA-256.
const secretSize = 32

// ParseSecret reads what the verifier kept of a challenge.
func ParseSecret(b []byte) (Secret, error) {
	var s Secret
	if err := decode(b, &s); err != nil {
		return Secret{}, fmt.Errorf("secret: %w", err)
	}
	return s, nil
}

// Challenge makes a secret that only the TPM can read which holds the attestation key of e and whose endorsement
// certificate roots trust: TPM2_MakeCredential, done here. The pair of the secret and its answer stays good for
// every later evidence by the same two keys.
func Challenge(e keys.Evidence, roots *x509.CertPool, now time.Time) (keys.Challenge, Secret, error) {
	fail := func(err error) (keys.Challenge, Secret, error) {
		return keys.Challenge{}, Secret{}, fmt.Errorf("make challenge: %w", err)
	}
	if e.TPM == nil {
		return fail(fmt.Errorf("evidence of kind %q has no endorsement key", e.Kind))
	}
	if _, err := attestationKey(e.TPM); err != nil {
		return fail(fmt.Errorf("attestation key: %w", err))
	}
	if _, err := endorsement(e.TPM, Question{Roots: roots, Now: now}); err != nil {
		return fail(fmt.Errorf("endorsement certificate: %w", err))
	}
	ek, err := parsePublic(e.TPM.EK)
	if err != nil {
		return fail(err)
	}
	s := Secret{Version: keys.EvidenceVersion, AKName: e.TPM.AKName, EK: e.TPM.EK, Secret: make([]byte, secretSize)}
	rand.Read(s.Secret)
	c, err := seal(ek, s)
	if err != nil {
		return fail(err)
	}
	return c, s, nil
}

func seal(ek *tpm2.TPMTPublic, s Secret) (keys.Challenge, error) {
	to, err := tpm2.ImportEncapsulationKey(ek)
	if err != nil {
		return keys.Challenge{}, err
	}
	credential, seed, err := tpm2.CreateCredential(rand.Reader, to, s.AKName, s.Secret)
	if err != nil {
		return keys.Challenge{}, err
	}
	return keys.Challenge{Version: keys.EvidenceVersion, AKName: s.AKName, EK: s.EK, Credential: credential, Seed: seed}, nil
}
