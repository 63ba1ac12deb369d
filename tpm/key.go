package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// key is a crypto.Signer whose private half only the TPM can use.
type key struct {
	store *Store
	name  string // "" for a key that lies elsewhere
	blob  blob

	// Guarded by the store's turn.
	saved *memory // nil when the TPM has to load the blob again
	gone  bool    // deleted
}

// load makes a signer of the blob and proves that it signs.
func (s *Store) load(t *session, name string, b blob) (*key, error) {
	k := &key{store: s, name: name, blob: b}
	handle, err := k.handle(t)
	if err != nil {
		return nil, err
	}
	if err := k.probe(t, handle); err != nil {
		return nil, err
	}
	return k, nil
}

// Public implements crypto.Signer without asking the TPM.
func (k *key) Public() crypto.PublicKey { return k.blob.key }

// Sign implements crypto.Signer. It makes ECDSA signatures in ASN.1, RSA PKCS #1 v1.5, and RSA-PSS with a salt as
// long as the hash; its randomness is the TPM's.
func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r, err := request(k.blob.key, digest, opts)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("sign with %s: %w", k, err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), makingKeys*k.store.timeout)
	defer cancel()
	var signature []byte
	err = k.store.operate(ctx, func(t *session) error {
		handle, err := k.handle(t)
		if err == nil {
			signature, err = r.sign(t, handle)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k, err)
	}
	return signature, nil
}

// String is the key in an error.
func (k *key) String() string {
	if k.name == "" {
		return "the loaded key"
	}
	return "key " + k.name
}

// handle loads the key: from its context, or from the blob where there is none or the TPM does not take it any
// more because it was restarted. The session flushes it.
func (k *key) handle(t *session) (tpm2.AuthHandle, error) {
	if k.gone {
		return tpm2.AuthHandle{}, keys.ErrNotFound
	}
	if k.saved != nil {
		handle, err := t.recall(k.saved)
		if !isStale(err) {
			return handle, label("load the context of the key", err)
		}
		k.saved = nil
	}
	handle, saved, err := t.restore(k.blob)
	k.saved = saved
	return handle, err
}

// signing is one signature asked for, in the words of the TPM.
type signing struct {
	algorithm tpm2.TPMAlgID
	hash      tpm2.TPMIAlgHash
	digest    []byte
}

var hashes = map[crypto.Hash]tpm2.TPMIAlgHash{
	crypto.SHA256: tpm2.TPMAlgSHA256,
	crypto.SHA384: tpm2.TPMAlgSHA384,
	crypto.SHA512: tpm2.TPMAlgSHA512,
}

func request(public crypto.PublicKey, digest []byte, opts crypto.SignerOpts) (signing, error) {
	hash, known := hashes[opts.HashFunc()]
	if !known {
		return signing{}, fmt.Errorf("hash %v is none of SHA-256, SHA-384, SHA-512", opts.HashFunc())
	}
	if len(digest) != opts.HashFunc().Size() {
		return signing{}, fmt.Errorf("digest of %d bytes is not one of %v", len(digest), opts.HashFunc())
	}
	if p, ok := public.(*ecdsa.PublicKey); ok {
		return ecdsaRequest(p.Curve.Params().BitSize/8, digest), nil
	}
	pss, ok := opts.(*rsa.PSSOptions)
	if !ok {
		return signing{tpm2.TPMAlgRSASSA, hash, digest}, nil
	}
	if pss.SaltLength != rsa.PSSSaltLengthEqualsHash && pss.SaltLength != len(digest) {
		return signing{}, fmt.Errorf("PSS salt length %d: a TPM makes the salt as long as the hash", pss.SaltLength)
	}
	return signing{tpm2.TPMAlgRSAPSS, hash, digest}, nil
}

// ecdsaRequest cuts the digest to the size of the curve, which is what ECDSA does with it anyway (FIPS 186-5,
// 6.4.1), so that a chip that has never heard of SHA-512 signs one with P-256.
func ecdsaRequest(size int, digest []byte) signing {
	if len(digest) > size {
		digest = digest[:size]
	}
	if len(digest) == crypto.SHA384.Size() {
		return signing{tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA384, digest}
	}
	return signing{tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256, digest}
}

func (r signing) sign(t *session, key tpm2.AuthHandle) ([]byte, error) {
	answer, err := tpm2.Sign{KeyHandle: key, Digest: tpm2.TPM2BDigest{Buffer: r.digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: r.algorithm, Details: tpm2.NewTPMUSigScheme(r.algorithm, &tpm2.TPMSSchemeHash{HashAlg: r.hash})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}}.Execute(t)
	if err != nil {
		return nil, label("sign", err)
	}
	return encode(answer.Signature)
}

// encode is the signature as crypto/x509 and crypto/tls know it.
func encode(s tpm2.TPMTSignature) ([]byte, error) {
	switch s.SigAlg {
	case tpm2.TPMAlgECDSA:
		e, err := s.Signature.ECDSA()
		if err != nil {
			return nil, err
		}
		return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(e.SignatureR.Buffer), new(big.Int).SetBytes(e.SignatureS.Buffer)})
	case tpm2.TPMAlgRSASSA:
		r, err := s.Signature.RSASSA()
		if err != nil {
			return nil, err
		}
		return r.Sig.Buffer, nil
	case tpm2.TPMAlgRSAPSS:
		r, err := s.Signature.RSAPSS()
		if err != nil {
			return nil, err
		}
		return r.Sig.Buffer, nil
	}
	return nil, errors.New("the TPM answered with a signature of another kind")
}
