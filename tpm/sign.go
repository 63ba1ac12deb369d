package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// signing is one signature asked for, in the words of the TPM.
type signing struct {
	algorithm tpm2.TPMAlgID
	hash      tpm2.TPMIAlgHash
	digest    []byte
	padHere   bool // PSS is padded by us
	opts      crypto.SignerOpts
	whole     []byte // the digest as it was given
}

var hashes = map[crypto.Hash]tpm2.TPMIAlgHash{
	crypto.SHA256: tpm2.TPMAlgSHA256,
	crypto.SHA384: tpm2.TPMAlgSHA384,
	crypto.SHA512: tpm2.TPMAlgSHA512,
}

func (k *key) request(digest []byte, opts crypto.SignerOpts) (signing, error) {
	hash, known := hashes[opts.HashFunc()]
	if !known {
		return signing{}, fmt.Errorf("hash %v is none of SHA-256, SHA-384, SHA-512", opts.HashFunc())
	}
	if len(digest) != opts.HashFunc().Size() {
		return signing{}, fmt.Errorf("digest of %d bytes is not one of %v", len(digest), opts.HashFunc())
	}
	r := signing{hash: hash, digest: digest, whole: digest, opts: opts}
	if p, ok := k.blob.key.(*ecdsa.PublicKey); ok {
		return r.ecdsa(p.Curve.Params().BitSize / 8), nil
	}
	pss, ok := opts.(*rsa.PSSOptions)
	if !ok {
		r.algorithm = tpm2.TPMAlgRSASSA
		return r, nil
	}
	r.algorithm, r.padHere = tpm2.TPMAlgRSAPSS, k.padding == PaddedHere
	if k.padding == PaddedNot {
		return signing{}, errors.New("this key makes no RSA-PSS signatures that others accept: TLS 1.2 with PKCS #1 v1.5 is what it is good for")
	}
	if pss.SaltLength != rsa.PSSSaltLengthEqualsHash && pss.SaltLength != len(digest) {
		return signing{}, fmt.Errorf("PSS salt length %d: a TPM makes the salt as long as the hash", pss.SaltLength)
	}
	return r, nil
}

// ecdsa cuts the digest to the size of the curve, which is what ECDSA does with it anyway (FIPS 186-5, 6.4.1), so
// that a chip that has never heard of SHA-512 signs one with P-256.
func (r signing) ecdsa(size int) signing {
	r.algorithm, r.hash = tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256
	if len(r.digest) > size {
		r.digest = r.digest[:size]
	}
	if len(r.digest) == crypto.SHA384.Size() {
		r.hash = tpm2.TPMAlgSHA384
	}
	return r
}

func (r signing) sign(t *session, k *key, h tpm2.TPMHandle) ([]byte, error) {
	auth, err := k.authorize(t, h)
	if err != nil {
		return nil, err
	}
	var signature []byte
	if r.padHere {
		signature, err = r.raw(t, auth, k.blob.key.(*rsa.PublicKey))
	} else {
		signature, err = r.command(t, auth)
	}
	k.learn(err)
	return signature, label("sign", err)
}

func (r signing) command(t *session, key object) ([]byte, error) {
	// The digest, the scheme, and the ticket that a digest from outside has none of.
	a, err := t.run(tpm2.TPMCCSign, []object{key}, sized(r.digest), u16(r.algorithm), u16(r.hash),
		u16(tpm2.TPMSTHashCheck), u32(tpm2.TPMRHNull), sized(nil))
	if err != nil {
		return nil, err
	}
	return encode(a)
}

// check says why the signature is not one of the key, or nil.
func (r signing) check(public crypto.PublicKey, signature []byte) error {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(public, r.whole, signature) {
			return errors.New("ecdsa: verification error")
		}
	case *rsa.PublicKey:
		if pss, ok := r.opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(public, pss.HashFunc(), r.whole, signature, pss)
		}
		return rsa.VerifyPKCS1v15(public, r.opts.HashFunc(), r.whole, signature)
	}
	return nil
}

// encode is a TPMT_SIGNATURE as crypto/x509 and crypto/tls know it.
func encode(a *answer) ([]byte, error) {
	algorithm := tpm2.TPMAlgID(a.uint16())
	a.uint16() // the hash
	switch algorithm {
	case tpm2.TPMAlgECDSA:
		r, s := a.sized(), a.sized()
		if err := a.whole(); err != nil {
			return nil, err
		}
		return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
	case tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS:
		return a.sized(), a.whole()
	}
	return nil, errors.New("the TPM answered with a signature of another kind")
}
