//go:build cgo

package module

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// publicKeyInfo is CKA_PUBLIC_KEY_INFO of PKCS #11 2.40, which the headers below crypto11 do not have.
const publicKeyInfo = 0x00000129

var errNoPublic = &problem{reason: wire.NoPublic, words: "neither a public key object, a certificate nor the private key itself says the public key"}

// public is the public half of the private key h, from whoever says it: the public object of the same ID, that of the
// same label, the private object, a certificate.
func (m *Module) public(h pkcs11.ObjectHandle, k wire.Key) ([]byte, error) {
	for _, object := range append(m.halves(pkcs11.CKO_PUBLIC_KEY, k), h) {
		if public, err := m.read(object); err == nil {
			return x509.MarshalPKIXPublicKey(public)
		}
	}
	for _, object := range m.halves(pkcs11.CKO_CERTIFICATE, k) {
		if der, err := m.attribute(object, pkcs11.CKA_VALUE); err == nil {
			if c, err := x509.ParseCertificate(der); err == nil {
				return c.RawSubjectPublicKeyInfo, nil
			}
		}
	}
	if err := m.present(); err != nil {
		return nil, err
	}
	return nil, errNoPublic
}

func (m *Module) halves(class uint, k wire.Key) (all []pkcs11.ObjectHandle) {
	if len(k.ID) > 0 {
		all, _ = m.find(class, wire.Key{ID: k.ID})
		return all
	}
	if k.Label != "" {
		all, _ = m.find(class, wire.Key{Label: k.Label})
	}
	return all
}

func (m *Module) read(h pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	if point, err := m.attribute(h, pkcs11.CKA_EC_POINT); err == nil {
		params, err := m.attribute(h, pkcs11.CKA_EC_PARAMS)
		if err != nil {
			return nil, err
		}
		return ecKey(params, point)
	}
	if modulus, err := m.attribute(h, pkcs11.CKA_MODULUS); err == nil {
		exponent, err := m.attribute(h, pkcs11.CKA_PUBLIC_EXPONENT)
		if err != nil {
			return nil, err
		}
		return rsaKey(modulus, exponent)
	}
	der, err := m.attribute(h, publicKeyInfo)
	if err != nil {
		return nil, err
	}
	return x509.ParsePKIXPublicKey(der)
}

// The curves by their CKA_EC_PARAMS.
var curves = map[string]elliptic.Curve{
	string([]byte{6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7}): elliptic.P256(),
	string([]byte{6, 5, 0x2B, 0x81, 4, 0, 0x22}):                elliptic.P384(),
}

func ecKey(params, point []byte) (crypto.PublicKey, error) {
	curve, known := curves[string(params)]
	if !known {
		return nil, errors.New("neither P-256 nor P-384")
	}
	var octets []byte
	if rest, err := asn1.Unmarshal(point, &octets); err != nil || len(rest) > 0 {
		octets = point // some modules forget the OCTET STRING around it
	}
	return ecdsa.ParseUncompressedPublicKey(curve, octets)
}

func rsaKey(modulus, exponent []byte) (crypto.PublicKey, error) {
	e := new(big.Int).SetBytes(exponent)
	if len(modulus) == 0 || e.BitLen() < 2 || e.BitLen() > 31 {
		return nil, errors.New("not an RSA public key")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(e.Int64())}, nil
}
