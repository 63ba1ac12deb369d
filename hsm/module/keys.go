//go:build cgo

package module

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"fmt"
	"strings"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/devid-agent/devid-agent/hsm/wire"
)

// find returns the objects of that class which fit k.
func (m *Module) find(class uint, k wire.Key) (found []pkcs11.ObjectHandle, err error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if k.Label != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.Label))
	}
	if len(k.ID) > 0 {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, k.ID))
	}
	if err := m.lib.FindObjectsInit(m.own, template); err != nil {
		return nil, doing("C_FindObjectsInit", err)
	}
	defer func() { _ = m.lib.FindObjectsFinal(m.own) }()
	for {
		some, _, err := m.lib.FindObjects(m.own, 64)
		if err != nil {
			return nil, doing("C_FindObjects", err)
		}
		if len(some) == 0 {
			return found, nil
		}
		found = append(found, some...)
	}
}

// one returns the one private key that fits k.
func (m *Module) one(k wire.Key) (pkcs11.ObjectHandle, error) {
	if k.Label == "" && len(k.ID) == 0 {
		return 0, &problem{reason: wire.BadRequest, words: "neither label nor ID of a key"}
	}
	found, err := m.find(pkcs11.CKO_PRIVATE_KEY, k)
	if err != nil {
		return 0, err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if err := m.present(); err != nil {
			return 0, err
		}
		return 0, &problem{reason: wire.NoKey, words: "find the key"}
	}
	return 0, &problem{reason: wire.ManyKeys, words: fmt.Sprintf("%d private keys with label %q and ID %x", len(found), k.Label, k.ID)}
}

// list reads only what our own keys have: others may be of types that crypto11 does not know.
func (m *Module) list(prefix string) (wire.Answer, error) {
	found, err := m.find(pkcs11.CKO_PRIVATE_KEY, wire.Key{})
	if err != nil {
		return wire.Answer{}, err
	}
	if err := m.present(); err != nil {
		return wire.Answer{}, err
	}
	var a wire.Answer
	for _, h := range found {
		label, err := m.attribute(h, pkcs11.CKA_LABEL)
		if err == nil && strings.HasPrefix(string(label), prefix) {
			a.Keys = append(a.Keys, wire.Key{Label: string(label)})
		}
	}
	return a, nil
}

func (m *Module) attribute(h pkcs11.ObjectHandle, kind uint) ([]byte, error) {
	a, err := m.lib.GetAttributeValue(m.own, h, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil {
		return nil, doing("C_GetAttributeValue", err)
	}
	if len(a) != 1 {
		return nil, &problem{reason: wire.Nonsense, words: fmt.Sprintf("C_GetAttributeValue returned %d attributes instead of 1", len(a))}
	}
	return a[0].Value, nil
}

// describe says everything about a key that may be known.
func (m *Module) describe(k wire.Key) (wire.Answer, error) {
	h, err := m.one(k)
	if err != nil {
		return wire.Answer{}, err
	}
	found := wire.Key{Attributes: m.booleans(h)}
	if label, err := m.attribute(h, pkcs11.CKA_LABEL); err == nil {
		found.Label = string(label)
	}
	if found.ID, err = m.attribute(h, pkcs11.CKA_ID); err != nil {
		found.ID = nil // there are tokens without
	}
	if found.Public, err = m.public(h, found); err != nil {
		return wire.Answer{}, err
	}
	return wire.Answer{Keys: []wire.Key{found}}, nil
}

var words = []struct {
	kind uint
	word string
}{
	{pkcs11.CKA_TOKEN, "CKA_TOKEN"}, {pkcs11.CKA_PRIVATE, "CKA_PRIVATE"}, {pkcs11.CKA_SENSITIVE, "CKA_SENSITIVE"},
	{pkcs11.CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE"}, {pkcs11.CKA_EXTRACTABLE, "CKA_EXTRACTABLE"},
	{pkcs11.CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE"}, {pkcs11.CKA_LOCAL, "CKA_LOCAL"}, {pkcs11.CKA_SIGN, "CKA_SIGN"},
	{pkcs11.CKA_DECRYPT, "CKA_DECRYPT"}, {pkcs11.CKA_UNWRAP, "CKA_UNWRAP"}, {pkcs11.CKA_DERIVE, "CKA_DERIVE"},
	{pkcs11.CKA_ALWAYS_AUTHENTICATE, "CKA_ALWAYS_AUTHENTICATE"},
}

// booleans are the attributes that are true. One that the module does not know is not.
func (m *Module) booleans(h pkcs11.ObjectHandle) (set []string) {
	for _, w := range words {
		if v, err := m.attribute(h, w.kind); err == nil && len(v) == 1 && v[0] != 0 {
			set = append(set, w.word)
		}
	}
	return set
}

// create makes the key, unless an earlier try did: the agent has drawn the ID, and asks again after a crash.
func (m *Module) create(r wire.Request) (wire.Answer, error) {
	made, err := m.made(r.Key)
	if err != nil {
		return wire.Answer{}, err
	}
	if !made {
		if err := m.generate(r); err != nil {
			_ = m.destroy(r.Key) // the half that may be there
			return wire.Answer{}, err
		}
	}
	if err := m.settle(r.Key); err != nil {
		return wire.Answer{}, err
	}
	return m.describe(r.Key)
}

// made reports whether the label belongs to the key already.
func (m *Module) made(k wire.Key) (bool, error) {
	if k.Label == "" || len(k.ID) == 0 {
		return false, &problem{reason: wire.BadRequest, words: "a new key needs a label and an ID"}
	}
	holders, err := m.find(pkcs11.CKO_PRIVATE_KEY, wire.Key{Label: k.Label})
	if err != nil || len(holders) == 0 {
		return false, err
	}
	for _, h := range holders {
		if id, err := m.attribute(h, pkcs11.CKA_ID); err == nil && bytes.Equal(id, k.ID) {
			return true, nil
		}
	}
	return false, &problem{reason: wire.TakenKey, words: "make the key"}
}

// signOnly is what a key may not do beside signing. There are modules that want this said and others that do not
// let it be said.
var signOnly = []uint{pkcs11.CKA_DECRYPT, pkcs11.CKA_UNWRAP, pkcs11.CKA_DERIVE, pkcs11.CKA_SIGN_RECOVER}

// generate asks for a key that does nothing but sign, and where the module finds fault with the template, for one
// that at least stays on the token.
func (m *Module) generate(r wire.Request) error {
	err := m.pair(r, signOnly)
	switch code, _ := errors.AsType[pkcs11.Error](err); code {
	case pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID,
		pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKR_TEMPLATE_INCOMPLETE, pkcs11.CKR_ARGUMENTS_BAD,
		pkcs11.CKR_GENERAL_ERROR: // as tpm2-pkcs11 says it
		err = m.pair(r, nil)
	}
	return doing("C_GenerateKeyPair", err)
}

func (m *Module) pair(r wire.Request, never []uint) error {
	public, err := crypto11.NewAttributeSetWithIDAndLabel(r.Key.ID, []byte(r.Key.Label))
	if err != nil {
		return err
	}
	private := public.Copy()
	for _, kind := range []uint{pkcs11.CKA_TOKEN, pkcs11.CKA_PRIVATE, pkcs11.CKA_SENSITIVE, pkcs11.CKA_SIGN} {
		private.AddIfNotPresent([]*pkcs11.Attribute{pkcs11.NewAttribute(kind, true)})
	}
	for _, kind := range append([]uint{pkcs11.CKA_EXTRACTABLE}, never...) {
		private.AddIfNotPresent([]*pkcs11.Attribute{pkcs11.NewAttribute(kind, false)})
	}
	switch r.Kind {
	case "p256":
		_, err = m.keeper.GenerateECDSAKeyPairWithAttributes(public, private, elliptic.P256())
	case "p384":
		_, err = m.keeper.GenerateECDSAKeyPairWithAttributes(public, private, elliptic.P384())
	case "rsa":
		_, err = m.keeper.GenerateRSAKeyPairWithAttributes(public, private, r.Bits)
	default:
		err = &problem{reason: wire.BadRequest, words: fmt.Sprintf("unknown kind of key %.20q", r.Kind)}
	}
	return err
}

// settle refuses a key that can leave the token, and one whose name another program took in the same moment: of
// several with one label, that of the smallest ID stays, so that exactly one creator wins.
func (m *Module) settle(k wire.Key) error {
	h, err := m.one(k)
	if err != nil {
		return err
	}
	if word := loose(m.booleans(h)); word != "" {
		_ = m.destroy(k)
		return &problem{reason: wire.ExtractableKey, words: word}
	}
	rivals, err := m.find(pkcs11.CKO_PRIVATE_KEY, wire.Key{Label: k.Label})
	if err != nil {
		return err
	}
	for _, rival := range rivals {
		if id, err := m.attribute(rival, pkcs11.CKA_ID); err == nil && bytes.Compare(id, k.ID) < 0 {
			_ = m.destroy(k)
			return &problem{reason: wire.TakenKey, words: "make the key"}
		}
	}
	return nil
}

// loose says which attribute lets the key leave the token.
func loose(attributes []string) string {
	is := map[string]bool{}
	for _, a := range attributes {
		is[a] = true
	}
	switch {
	case is["CKA_EXTRACTABLE"]:
		return "CKA_EXTRACTABLE is true"
	case !is["CKA_SENSITIVE"]:
		return "CKA_SENSITIVE is not true"
	case !is["CKA_TOKEN"]:
		return "CKA_TOKEN is not true: the key would be gone with the session"
	}
	return ""
}

// destroy removes the private half first: without it, what is left is of no use to anybody.
func (m *Module) destroy(k wire.Key) error {
	h, err := m.one(k)
	if err == nil {
		clear(m.signers)
		err = doing("C_DestroyObject", m.lib.DestroyObject(m.own, h))
	}
	p, gone := err.(*problem)
	if gone = gone && p.reason == wire.NoKey; err != nil && !gone {
		return err
	}
	halves, findErr := m.find(pkcs11.CKO_PUBLIC_KEY, k)
	for _, half := range halves {
		if destroyErr := m.lib.DestroyObject(m.own, half); destroyErr != nil {
			findErr = doing("C_DestroyObject", destroyErr)
		}
	}
	if findErr != nil {
		return findErr
	}
	return err
}
