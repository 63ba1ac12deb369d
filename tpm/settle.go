package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// handlesOfStore is how many persistent handles a store may take, from Config.Persistent on. Chips have room for 7
// to 30 persistent objects in all.
const handlesOfStore = 16

// settle has the TPM itself keep the loaded key, at the first free handle of the store's range. The key's file
// stays what counts: a cut between the file and the handle leaves a key that works, and Delete finds the handle by
// the key's Name.
func (t *session) settle(k *key, loaded tpm2.TPMHandle) error {
	first := t.store.persistent
	taken, _, err := handles(t.exchange, first, handlesOfStore)
	if err != nil {
		return label("list the persistent handles", err)
	}
	for h := first; h < first+handlesOfStore; h++ {
		if slices.Contains(taken, h) {
			continue
		}
		err := t.evictControl(password(loaded, k.blob.name), h)
		if oneOf(err, tpm2.TPMRCNVDefined) {
			continue // another program was faster
		}
		if err == nil {
			k.resident = h
		}
		return label("keep the key in the TPM", err)
	}
	return fault.AskOperator(fmt.Errorf("the persistent handles %#x to %#x are taken", uint32(first), uint32(first+handlesOfStore-1)), hintSpace)
}

// moveIn has the TPM keep the key, where the store is to and it does not yet.
func (s *Store) moveIn(t *session, k *key) error {
	if s.persistent == 0 {
		return nil
	}
	h, err := t.settled(k.blob.name)
	if err != nil || h != 0 {
		k.resident = h
		return err
	}
	loaded, err := k.locate(t)
	if err != nil {
		return err
	}
	return t.settle(k, loaded)
}

// moveOut deletes the key: first where the TPM keeps it, so that a cut leaves a key that is whole.
func (s *Store) moveOut(ctx context.Context, name string) error {
	return s.operate(ctx, func(t *session) error {
		b, err := s.dir.Read(name + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if parsed, err := parseBlob(b); err == nil { // a damaged one has no name to look for
			if err := t.evict(parsed); err != nil {
				return err
			}
		}
		return s.remove(name)
	})
}

// settled looks for the handle at which the TPM keeps the key of that Name; 0 where it does not.
func (t *session) settled(name tpm2.TPM2BName) (tpm2.TPMHandle, error) {
	first := t.store.persistent
	if first == 0 {
		return 0, nil
	}
	taken, _, err := handles(t.exchange, first, handlesOfStore)
	if err != nil {
		return 0, label("list the persistent handles", err)
	}
	for _, h := range taken {
		if h >= first+handlesOfStore {
			break
		}
		_, there, err := t.readPublic(h)
		if err == nil && bytes.Equal(there.Buffer, name.Buffer) {
			return h, nil
		}
	}
	return 0, nil
}

// evict takes the key of the blob out of the TPM's own memory, if it is there.
func (t *session) evict(b blob) error {
	h, err := t.settled(b.name)
	if err != nil || h == 0 {
		return err
	}
	return label("take the key out of the TPM", t.evictControl(password(h, b.name), h))
}

// evictControl moves a loaded object to the persistent handle, or takes the one that lies there away.
func (t *session) evictControl(o object, h tpm2.TPMHandle) error {
	owner, err := t.owner()
	if err != nil {
		return err
	}
	_, err = t.run(tpm2.TPMCCEvictControl, []object{owner, o.shut()}, u32(h))
	return err
}

// checkPersistent says why h cannot be the first handle of a store, or nil.
func checkPersistent(h uint32) error {
	if h == 0 || h >= 0x81000002 && h <= 0x817FFFFF-handlesOfStore {
		return nil
	}
	return fault.AskOperator(errors.New("the first persistent handle is not one of the owner's (0x81xxxxxx, below 0x81800000)"),
		"set keys.persistent: 0x81008000, where the TCG's registry of handles has room for such keys")
}
