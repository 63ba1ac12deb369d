package tpm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// residentRoot is where the TCG's provisioning guidance keeps the storage root key (7.5.1), if somebody did.
const residentRoot tpm2.TPMHandle = 0x81000001

// storageRootKey is the template of the owner hierarchy's ECC P-256 storage root key. Its unique field is of
// length zero, as key files with the parent 0x40000001 mean it (draft-bottomley-tpm2-keys, 3.1.8); the TCG's
// own template has 32 zero bytes there, and with them the same TPM makes another key.
func storageRootKey() tpm2.TPMTPublic {
	t := tpm2.ECCSRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return t
}

// rsaRootKey is what key files mean that say rsaParent.
func rsaRootKey() tpm2.TPMTPublic {
	t := tpm2.RSASRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	return t
}

// parent returns the handle of what a blob of that parent was made under. Recorded is the Name that it had then,
// where we know it.
func (t *session) parent(b blob, recorded []byte) (object, error) {
	switch {
	case b.parent != tpm2.TPMRHOwner:
		return t.persistentParent(b.parent, recorded)
	case b.rsaParent:
		root, err := t.again(storage())
		return root.object, err
	}
	if h, _, found := t.resident(); found && bytes.Equal(h.name.Buffer, recorded) {
		return h, nil // nobody needs to derive it, which takes a chip 50 to 200 ms and the owner's password
	}
	h, err := t.derive(storageRootKey())
	if isWrongPassword(err) {
		if resident, _, found := t.resident(); found {
			return resident, nil // whether it is the right one, the load will say
		}
	}
	return h, err
}

func (t *session) persistentParent(h tpm2.TPMHandle, recorded []byte) (object, error) {
	public, name, err := t.readPublic(h)
	if oneOf(err, tpm2.TPMRCHandle) {
		err = fmt.Errorf("the parent %#x is not in the TPM: %w", uint32(h), err)
		if len(recorded) > 0 {
			return object{}, gone(err)
		}
		return object{}, fault.AskOperator(err, hintForeign)
	}
	if err != nil {
		return object{}, label(fmt.Sprintf("read the parent %#x", uint32(h)), err)
	}
	if !public.ObjectAttributes.NoDA {
		// Should it have a password, the empty one is a wrong one and counts.
		if err := t.mayGuess(); err != nil {
			return object{}, err
		}
	}
	return password(h, name), nil
}

// root returns the parent for a new key, and the handle by which the key's file is to name it: the derived storage
// root key; or, where the owner's password keeps us from deriving it, the one that somebody left in the TPM.
func (t *session) root() (parent object, known tpm2.TPMHandle, err error) {
	h, err := t.derive(storageRootKey())
	if !isWrongPassword(err) {
		return h, tpm2.TPMRHOwner, err
	}
	resident, why, found := t.resident()
	if found {
		return resident, residentRoot, nil
	}
	return h, 0, fault.AskOperator(fmt.Errorf("%w; and at %#x there is no storage root key to use instead: %w", err, uint32(residentRoot), why),
		"put the owner's password into keys.owner_auth; or let its owner leave the storage root key in the TPM: tpm2_createprimary -C o -P PASSWORD -G ecc -a 'restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda' -c srk.ctx, then tpm2_evictcontrol -C o -P PASSWORD -c srk.ctx 0x81000001")
}

// derive makes the primary key of that template, which is the same each time until the TPM is cleared.
func (t *session) derive(template tpm2.TPMTPublic) (object, error) {
	owner, err := t.owner()
	if err != nil {
		return object{}, err
	}
	root, _, err := t.primary(owner, template)
	return root, label("derive the storage root key", err)
}

// resident looks for a storage root key where provisioning leaves it, and says why what lies there is none.
func (t *session) resident() (h object, why error, found bool) {
	public, name, err := t.readPublic(residentRoot)
	if err != nil {
		return object{}, err, false
	}
	if !alike(public, storageRootKey()) && !alike(public, rsaRootKey()) {
		return object{}, errors.New("what lies there was not made by the TCG's template"), false
	}
	return password(residentRoot, name), nil, true
}

// alike reports that a key was made by the template, as far as its public area tells.
func alike(made, template tpm2.TPMTPublic) bool {
	made.Unique = template.Unique
	return made.Type == template.Type && bytes.Equal(tpm2.Marshal(made), tpm2.Marshal(template))
}
