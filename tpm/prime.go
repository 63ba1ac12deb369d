package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// prime is a primary key that a cloud uses, by the TCG's template for it and, where there is a custom, the handle at
// which a TPM keeps it. The template's alone are the keys that every other tool finds in the same chip.
type prime struct {
	what     string
	kept     tpm2.TPMHandle // 0 where it is derived each time
	template tpm2.TPMTPublic
	of       func(*session) (object, error) // the hierarchy, opened
	label    func(doing string, err error) error
}

func rsaEndorsement() prime {
	return prime{"RSA endorsement key", 0x81010001, tpm2.RSAEKTemplate, byNobody, labelEndorsement}
}

func eccEndorsement() prime {
	return prime{"P-256 endorsement key", 0, tpm2.ECCEKTemplate, byNobody, labelEndorsement}
}

// storage is the storage root key that the cloud encrypts to, which is RSA whatever our own keys lie under.
func storage() prime {
	return prime{"RSA storage root key", residentRoot, rsaRootKey(), (*session).owner, label}
}

func byNobody(*session) (object, error) { return hierarchy(tpm2.TPMRHEndorsement), nil }

// found is a prime as the TPM has it now. The session flushes it where it was loaded.
type found struct {
	object
	public tpm2.TPMTPublic
}

// derivedBefore is a prime that this store has derived, as its context: to derive it again takes some chips a minute.
type derivedBefore struct {
	context []byte
	found
}

// find looks for the key where the TPM keeps it, then among those derived before, and derives it otherwise.
func (t *session) find(p prime) (found, error) {
	if p.kept == 0 {
		return t.again(p)
	}
	public, name, err := t.readPublic(p.kept)
	switch {
	case err == nil && alike(public, p.template):
		return found{password(p.kept, name), public}, nil
	case err != nil && !oneOf(err, tpm2.TPMRCHandle):
		return found{}, label(fmt.Sprintf("read the %s at %#x", p.what, uint32(p.kept)), err)
	}
	return t.again(p)
}

// again derives the key, or recalls it where it was derived before.
func (t *session) again(p prime) (found, error) {
	if before, known := t.store.derived[p.what]; known {
		h, err := t.recall(before.context)
		if !isStale(err) {
			return found{password(h, before.name), before.public}, label("load the context of the "+p.what, err)
		}
		delete(t.store.derived, p.what)
	}
	of, err := p.of(t)
	if err != nil {
		return found{}, err
	}
	o, public, err := t.primary(of, p.template)
	if err != nil {
		return found{}, p.label("derive the "+p.what, err)
	}
	f := found{o, public}
	if saved, err := t.run(tpm2.TPMCCContextSave, []object{bare(o.handle)}); err == nil {
		t.store.derived[p.what] = derivedBefore{saved.rest, f}
	}
	return f, nil
}
