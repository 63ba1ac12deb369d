package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/keys"
)

// plan is what a key to be made is to be like.
type plan struct {
	algorithm keys.Algorithm
	raw       bool   // RSA only: it also decrypts, which gives the bare RSA operation to who pads in software
	locked    bool   // it has a password
	policy    []byte // it is used through this policy only
}

// template is a signing key that can leave neither its parent nor its TPM and was born there. Without a password
// it does not count for, or suffer from, the lockout after wrong ones; with one it has to.
func template(p plan) tpm2.TPMTPublic {
	parameters := parameters(p.algorithm)
	return tpm2.TPMTPublic{
		Type:    parameters.Type,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: p.policy == nil, NoDA: !p.locked, SignEncrypt: true, Decrypt: p.raw},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: p.policy},
		Parameters: parameters.Parameters,
	}
}

func parameters(a keys.Algorithm) tpm2.TPMTPublicParms {
	switch a {
	case keys.ECDSAP384:
		return eccParameters(tpm2.TPMECCNistP384)
	case keys.RSA2048:
		return rsaParameters(2048)
	case keys.RSA3072:
		return rsaParameters(3072)
	}
	return eccParameters(tpm2.TPMECCNistP256)
}

func eccParameters(curve tpm2.TPMECCCurve) tpm2.TPMTPublicParms {
	return tpm2.TPMTPublicParms{Type: tpm2.TPMAlgECC,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: curve})}
}

func rsaParameters(bits tpm2.TPMKeyBits) tpm2.TPMTPublicParms {
	return tpm2.TPMTPublicParms{Type: tpm2.TPMAlgRSA,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: bits})}
}

// publicKey is the key of a public area, checked: a point is on its curve, a modulus is of a size we sign with.
func publicKey(p tpm2.TPMTPublic) (crypto.PublicKey, keys.Algorithm, error) {
	if !p.ObjectAttributes.SignEncrypt || p.ObjectAttributes.Restricted {
		return nil, "", errors.New("the key does not sign what it is given: it is for decryption, or restricted")
	}
	switch p.Type {
	case tpm2.TPMAlgECC:
		return eccKey(p)
	case tpm2.TPMAlgRSA:
		return rsaKey(p)
	}
	return nil, "", fmt.Errorf("key type %#x is neither ECC nor RSA", p.Type)
}

func eccKey(p tpm2.TPMTPublic) (crypto.PublicKey, keys.Algorithm, error) {
	detail, err := p.Parameters.ECCDetail()
	if err != nil {
		return nil, "", err
	}
	point, err := p.Unique.ECC()
	if err != nil {
		return nil, "", err
	}
	curve, algorithm := curveOf(detail.CurveID)
	if curve == nil {
		return nil, "", fmt.Errorf("curve %#x is neither P-256 nor P-384", detail.CurveID)
	}
	size := curve.Params().BitSize / 8
	if len(point.X.Buffer) > size || len(point.Y.Buffer) > size {
		return nil, "", errors.New("public point is too long for its curve")
	}
	// TPMs differ in whether they cut leading zeros off a coordinate.
	raw := make([]byte, 1+2*size)
	raw[0] = 4
	copy(raw[1+size-len(point.X.Buffer):], point.X.Buffer)
	copy(raw[1+2*size-len(point.Y.Buffer):], point.Y.Buffer)
	public, err := ecdsa.ParseUncompressedPublicKey(curve, raw)
	return public, algorithm, err
}

func curveOf(id tpm2.TPMECCCurve) (elliptic.Curve, keys.Algorithm) {
	switch id {
	case tpm2.TPMECCNistP256:
		return elliptic.P256(), keys.ECDSAP256
	case tpm2.TPMECCNistP384:
		return elliptic.P384(), keys.ECDSAP384
	}
	return nil, ""
}

func rsaKey(p tpm2.TPMTPublic) (crypto.PublicKey, keys.Algorithm, error) {
	detail, err := p.Parameters.RSADetail()
	if err != nil {
		return nil, "", err
	}
	modulus, err := p.Unique.RSA()
	if err != nil {
		return nil, "", err
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus.Buffer), E: int(detail.Exponent)}
	if public.E == 0 {
		public.E = 65537 // TPMS_RSA_PARMS: zero means the default
	}
	bits := public.N.BitLen()
	if bits < 2048 || bits > 4096 || bits != int(detail.KeyBits) || public.E&1 == 0 {
		return nil, "", fmt.Errorf("rsa key of %d bits with exponent %d is not one to sign with", bits, public.E)
	}
	return public, keys.Algorithm(fmt.Sprintf("rsa-%d", bits)), nil
}
