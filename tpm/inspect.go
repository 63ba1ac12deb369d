package tpm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// Inspect implements keys.Inspector: TPM2_ReadPublic says what the key is, TPM2_Duplicate tries to take it away.
func (s *Store) Inspect(ctx context.Context, name string) (keys.Facts, error) {
	if err := keys.CheckName(name); err != nil {
		return keys.Facts{}, fault.As(fault.Permanent, fmt.Errorf("inspect key: %w", err))
	}
	var facts keys.Facts
	err := s.operate(ctx, func(t *session) error {
		k, err := s.open(t, name)
		if err != nil {
			return err
		}
		t.flushAll() // what opening it has loaded; there is room for few
		facts, err = k.facts(t)
		return err
	})
	if err != nil {
		return keys.Facts{}, fmt.Errorf("inspect key %s: %w", name, err)
	}
	return facts, nil
}

func (k *key) facts(t *session) (keys.Facts, error) {
	handle, err := k.handle(t)
	if err != nil {
		return keys.Facts{}, err
	}
	public, _, err := t.readPublic(handle.handle)
	if err != nil {
		return keys.Facts{}, label("read the public area", err)
	}
	_, algorithm, err := publicKey(public)
	if err != nil {
		return keys.Facts{}, err
	}
	facts := keys.Facts{Algorithm: string(algorithm), Attributes: words(public.ObjectAttributes), Padding: k.padding}
	if facts.Export, facts.Refused, err = export(t, handle); err != nil {
		return keys.Facts{}, err
	}
	facts.Place, err = k.place(t)
	return facts, err
}

// words are the attributes as the TPM 2.0 Library, part 2, 8.3 names them.
func words(a tpm2.TPMAObject) []string {
	var set []string
	for _, w := range []struct {
		set  bool
		word string
	}{
		{a.FixedTPM, "fixedTPM"}, {a.STClear, "stClear"}, {a.FixedParent, "fixedParent"},
		{a.SensitiveDataOrigin, "sensitiveDataOrigin"}, {a.UserWithAuth, "userWithAuth"},
		{a.AdminWithPolicy, "adminWithPolicy"}, {a.NoDA, "noDA"}, {a.EncryptedDuplication, "encryptedDuplication"},
		{a.Restricted, "restricted"}, {a.Decrypt, "decrypt"}, {a.SignEncrypt, "sign"},
	} {
		if w.set {
			set = append(set, w.word)
		}
	}
	return set
}

// export asks for the key without a wrapping of any kind, which is how a thief would like it. The TPM refuses at the
// first hurdle (TPM_RC_AUTH_TYPE: duplication needs a policy session, and the key has no policy to satisfy); the
// second would be fixedTPM and fixedParent (TPM_RC_ATTRIBUTES).
func export(t *session, key object) (said string, refused bool, err error) {
	_, err = t.run(tpm2.TPMCCDuplicate, []object{key, bare(tpm2.TPMRHNull)}, sized(nil), u16(tpm2.TPMAlgNull))
	if err == nil {
		return "TPM2_Duplicate: TPM_RC_SUCCESS", false, nil
	}
	code, answered := errors.AsType[tpm2.TPMRC](err)
	if !answered || isBusy(code) || isFull(code) || code == tpm2.TPMRCFailure {
		return "", false, label("try to export the key", err)
	}
	return "TPM2_Duplicate: " + codeName(code), true, nil
}

// codeName is the TPM's word for the code.
func codeName(c tpm2.TPMRC) string {
	name, _, _ := strings.Cut(c.Error(), ":")
	name, _, _ = strings.Cut(name, " ")
	return name
}

func (k *key) place(t *session) (string, error) {
	maker, err := properties(t, tpm2.TPMPTManufacturer, tpm2.TPMPTFirmwareVersion1)
	if err != nil {
		return "", err
	}
	parent := "under the storage root key"
	if k.blob.parent != tpm2.TPMRHOwner {
		parent = fmt.Sprintf("under the persistent key %#x", uint32(k.blob.parent))
	}
	if k.resident != 0 {
		parent += fmt.Sprintf(" and at %#x", uint32(k.resident))
	}
	version := maker[tpm2.TPMPTFirmwareVersion1]
	return fmt.Sprintf("TPM 2.0 (%s, firmware %d.%d) %s", ascii(maker[tpm2.TPMPTManufacturer]), version>>16, version&0xFFFF, parent), nil
}

func properties(t *session, first, last tpm2.TPMPT) (map[tpm2.TPMPT]uint32, error) {
	list, _, err := capability(t.exchange, tpm2.TPMCapTPMProperties, uint32(first), int(last-first)+1)
	if err != nil {
		return nil, label("read the properties of the TPM", err)
	}
	values := map[tpm2.TPMPT]uint32{}
	for range list.uint32() % largest {
		property := tpm2.TPMPT(list.uint32())
		values[property] = list.uint32()
	}
	return values, list.whole()
}

// ascii is a property that holds four letters.
func ascii(v uint32) string {
	b := []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	return strings.TrimRight(string(b), "\x00 ")
}
