package tpm

import (
	"crypto"
	"crypto/rsa"
	"errors"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// probe signs and verifies, so that a chip that signs what nobody accepts is found now and not by the hub.
func (k *key) probe(t *session, h tpm2.TPMHandle) error {
	public, ok := k.blob.key.(*rsa.PublicKey)
	if !ok {
		return k.try(t, h, crypto.SHA256)
	}
	algorithm, hash := fixedScheme(k.blob.public)
	if algorithm != tpm2.TPMAlgRSAPSS {
		if err := k.try(t, h, hash); err != nil {
			return err
		}
	}
	if algorithm == tpm2.TPMAlgRSASSA {
		k.padding = PaddedNot
		return nil
	}
	return k.probePSS(t, h, public, hash)
}

// probePSS catches TPMs made before revision 1.38 of the library specification: their salt is as long as fits
// into the key (part 1, B.7), and TLS 1.3 wants it as long as the hash (RFC 8446, 4.2.3).
func (k *key) probePSS(t *session, h tpm2.TPMHandle, public *rsa.PublicKey, hash crypto.Hash) error {
	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	bare := isRaw(k.blob.public)
	if k.store.padHere && bare {
		k.padding = PaddedHere
		return k.try(t, h, opts)
	}
	k.padding = PaddedByTPM
	signature, err := k.attempt(t, h, opts)
	if err == nil && rsa.VerifyPSS(public, hash, question(hash), signature, opts) == nil {
		return nil
	}
	any := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: hash}
	if err == nil && rsa.VerifyPSS(public, hash, question(hash), signature, any) != nil {
		return notOurs(rsa.ErrVerification)
	}
	if err != nil && !oneOf(err, tpm2.TPMRCScheme, tpm2.TPMRCValue) {
		return err
	}
	if !bare {
		k.padding = PaddedNot
		return nil
	}
	k.padding = PaddedHere
	return k.try(t, h, opts)
}

// try signs the question and checks the answer.
func (k *key) try(t *session, h tpm2.TPMHandle, opts crypto.SignerOpts) error {
	signature, err := k.attempt(t, h, opts)
	if err != nil {
		return err
	}
	r, err := k.request(question(opts.HashFunc()), opts)
	if err != nil {
		return err
	}
	if err := r.check(k.blob.key, signature); err != nil {
		return notOurs(err)
	}
	return nil
}

func (k *key) attempt(t *session, h tpm2.TPMHandle, opts crypto.SignerOpts) ([]byte, error) {
	r, err := k.request(question(opts.HashFunc()), opts)
	if err != nil {
		return nil, err
	}
	return r.sign(t, k, h)
}

// question is the digest that a probe has signed.
func question(hash crypto.Hash) []byte {
	h := hash.New()
	h.Write([]byte("devid-agent: does this key sign?"))
	return h.Sum(nil)
}

func notOurs(err error) error {
	return fault.AskOperator(errors.Join(errors.New("the TPM's signature does not fit the public key"), err),
		"the TPM is faulty: run tpm2_selftest --fulltest, and replace the device if that fails")
}
