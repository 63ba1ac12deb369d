package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// mac is an HMAC key of the cloud's.
type mac struct {
	store *Store
	name  string
	blob  blob
	saved *memory // nil when the TPM has to load the blob again
}

// macSuffix is of the files of HMAC keys, which lie beside those of the store's own keys and are none of them.
const macSuffix = ".hmac.pem"

// macEntry is what an HMAC key's entry in the record begins with. No key's name has a colon.
const macEntry = "hmac:"

func (m *mac) entry() string { return macEntry + m.name }

// HMAC implements keys.Endorsed.
func (s *Store) HMAC(ctx context.Context, name string, data []byte) ([]byte, error) {
	if err := keys.CheckName(name); err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("hmac: %w", err))
	}
	var sum []byte
	err := s.operate(ctx, func(t *session) error {
		m, err := s.mac(name)
		if err == nil {
			sum, err = m.sign(t, data)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hmac with key %s: %w", name, err)
	}
	return sum, nil
}

func (s *Store) mac(name string) (*mac, error) {
	b, err := s.dir.Read(name + macSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, keys.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	blob, err := parseMAC(b)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%s: %w", s.dir.File(name+macSuffix), err),
			"remove the file: the device then enrolls again by its TPM")
	}
	if m := s.macs[name]; m != nil && bytes.Equal(m.blob.private, blob.private) {
		return m, nil
	}
	m := &mac{store: s, name: name, blob: blob}
	s.macs[name] = m
	return m, nil
}

func parseMAC(b []byte) (blob, error) {
	f, err := parseKeyFile(b)
	if err != nil {
		return blob{}, err
	}
	m, err := newMAC(content(f.Public), content(f.Private))
	m.parent, m.rsaParent = tpm2.TPMHandle(f.Parent), isTrue(f.RSAParent)
	return m, err
}

func (m *mac) sign(t *session, data []byte) ([]byte, error) {
	h, err := m.locate(t)
	if err != nil {
		return nil, err
	}
	sum, err := t.hmac(password(h, m.blob.name), data)
	if err == nil && len(sum) != 32 {
		err = fault.As(fault.Permanent, fmt.Errorf("the TPM answered with %d bytes", len(sum)))
	}
	return sum, label("make the hmac", err)
}

// locate loads the key: from its context, or from the blob where there is no context or the TPM was restarted since.
func (m *mac) locate(t *session) (tpm2.TPMHandle, error) {
	if m.saved != nil {
		h, err := t.recall(m.saved.context)
		if !isStale(err) {
			return h, label("load the context of the key", err)
		}
		m.saved = nil
	}
	h, saved, err := t.restore(m.blob, m.store.parentOf(m.entry()))
	if err == nil {
		m.saved = saved
	}
	return h, err
}

// anyBuffer is a size of data that every TPM takes in one command.
const anyBuffer = 256

// hmac makes an HMAC-SHA256: in one command, or piece by piece where data is longer than the TPM takes.
func (t *session) hmac(key object, data []byte) ([]byte, error) {
	limit := anyBuffer
	if len(data) > limit {
		p, err := properties(t, tpm2.TPMPTInputBuffer, tpm2.TPMPTInputBuffer)
		if err != nil {
			return nil, err
		}
		limit = min(max(limit, int(p[tpm2.TPMPTInputBuffer])), largest/2)
	}
	if len(data) > limit {
		return t.hmacSequence(key, data, limit)
	}
	a, err := t.run(tpm2.TPMCCHMAC, []object{key}, sized(data), u16(tpm2.TPMAlgSHA256))
	if err != nil {
		return nil, err
	}
	return a.sized(), a.whole()
}

func (t *session) hmacSequence(key object, data []byte, limit int) ([]byte, error) {
	a, err := t.run(tpm2.TPMCCHMACStart, []object{key}, sized(nil), u16(tpm2.TPMAlgSHA256))
	if err != nil {
		return nil, err
	}
	sequence := password(a.handle, tpm2.TPM2BName{}) // it has neither password nor Name (part 1, 32.4.5)
	for ; len(data) > limit; data = data[limit:] {
		if _, err := t.run(tpm2.TPMCCSequenceUpdate, []object{sequence}, sized(data[:limit])); err != nil {
			return nil, err
		}
	}
	sum, err := t.run(tpm2.TPMCCSequenceComplete, []object{sequence}, sized(data), u32(tpm2.TPMRHNull))
	if err != nil {
		return nil, err
	}
	t.forget(sequence.handle) // it ends with its completion
	return sum.sized(), sum.whole()
}
