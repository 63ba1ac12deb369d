//go:build cgo

package module

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

func (m *Module) sign(r wire.Request) (wire.Answer, error) {
	signer, err := m.signer(r.Key)
	if err != nil {
		return wire.Answer{}, err
	}
	var opts crypto.SignerOpts = crypto.Hash(r.Hash)
	if r.PSS {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.Hash(r.Hash)}
	}
	signature, err := signer.Sign(nil, r.Digest, opts)
	if err != nil {
		return wire.Answer{}, doing("C_Sign", err)
	}
	return wire.Answer{Signature: signature}, nil
}

// signer remembers handles, so that a signature costs the token one call and not five.
func (m *Module) signer(k wire.Key) (crypto11.PrivateKey, error) {
	name := k.Label + "\x00" + string(k.ID)
	if s := m.signers[name]; s != nil {
		return s, nil
	}
	if _, err := m.one(k); err != nil {
		return nil, err
	}
	s, err := m.keeper.FindPrivateKey(k.ID, []byte(k.Label))
	if err != nil {
		return nil, err
	}
	m.signers[name] = s
	return s, nil
}

// inspect asks the token for the private key in the plainest way there is.
func (m *Module) inspect(k wire.Key) (wire.Answer, error) {
	a, err := m.describe(k)
	if err != nil {
		return a, err
	}
	h, err := m.one(k)
	if err != nil {
		return a, err
	}
	kind, word := uint(pkcs11.CKA_VALUE), "CKA_VALUE"
	if _, err := m.attribute(h, pkcs11.CKA_MODULUS); err == nil {
		kind, word = pkcs11.CKA_PRIVATE_EXPONENT, "CKA_PRIVATE_EXPONENT"
	}
	value, err := m.attribute(h, kind)
	code, refused := errors.AsType[pkcs11.Error](err)
	switch {
	case refused:
		a.Export = fmt.Sprintf("C_GetAttributeValue(%s): %s", word, name(code))
	case err != nil:
		return a, err
	case len(value) == 0:
		a.Export = fmt.Sprintf("C_GetAttributeValue(%s): CKR_OK, and nothing", word)
	default:
		a.Export, a.Exported = fmt.Sprintf("C_GetAttributeValue(%s): CKR_OK", word), true
	}
	return a, nil
}
