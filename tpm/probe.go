package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// probe signs and verifies, so that a chip that signs what nobody accepts is found now and not by the hub.
func (k *key) probe(t *session, handle tpm2.AuthHandle) error {
	digest := sha256.Sum256([]byte("devid-agent: does this key sign?"))
	signature, err := k.try(t, handle, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	switch public := k.blob.key.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, digest[:], signature) {
			return notOurs(errors.New("ecdsa: verification error"))
		}
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature); err != nil {
			return notOurs(err)
		}
		return k.probePSS(t, handle, public, digest[:])
	}
	return nil
}

func notOurs(err error) error {
	return fault.AskOperator(errors.Join(errors.New("the TPM's signature does not fit the public key"), err),
		"the TPM is faulty: run tpm2_selftest --fulltest, and replace the device if that fails")
}

// probePSS catches TPMs made before revision 1.38 of the library specification: their salt is as long as fits
// into the key, and TLS 1.3 wants it as long as the hash (RFC 8446, 4.2.3).
func (k *key) probePSS(t *session, handle tpm2.AuthHandle, public *rsa.PublicKey, digest []byte) error {
	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	signature, err := k.try(t, handle, digest, opts)
	if err != nil {
		return err
	}
	if err := rsa.VerifyPSS(public, crypto.SHA256, digest, signature, opts); err != nil {
		return fault.AskOperator(errors.Join(errors.New("the TPM makes RSA-PSS signatures that TLS 1.3 does not accept"), err),
			"set keys.algorithm: ecdsa-p256")
	}
	return nil
}

func (k *key) try(t *session, handle tpm2.AuthHandle, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r, err := request(k.blob.key, digest, opts)
	if err != nil {
		return nil, err
	}
	return r.sign(t, handle)
}
