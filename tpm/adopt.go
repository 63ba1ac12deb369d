package tpm

import (
	"context"
	"crypto"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
)

// Load returns the key of a TSS2 PRIVATE KEY file that lies elsewhere: made by openssl or tpm2-tools, under a
// storage root key of the owner hierarchy, ECC or RSA, or a persistent handle. Where the file says that the key has
// a password, the empty one and that of Config.KeyAuthFile are tried as LoadHandle does. Such a key mostly lacks noDA: the TPM counts each power cut as a
// wrong password for it, and locks it out for a while after some of them.
func (s *Store) Load(ctx context.Context, pem []byte) (crypto.Signer, error) {
	blob, err := parseBlob(pem)
	if err != nil {
		return nil, fault.As(fault.Operator, fmt.Errorf("load key: %w", err))
	}
	var k *key
	err = s.operate(ctx, func(t *session) (err error) {
		k = &key{store: s, blob: blob}
		if blob.locked {
			return k.open(t) // tpm2_encodeobject says so of keys without one, too
		}
		k, err = s.load(t, "", blob)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	return k, nil
}

// HandlePrefix is what the name of a key starts with that a TPM keeps itself: handle:0x81010001.
const HandlePrefix = "handle:"

const hintEvicted = "list what the TPM keeps with tpm2_getcap handles-persistent, and name the right one"

// ParseHandle reads the name of a key that a TPM keeps itself.
func ParseHandle(name string) (uint32, error) {
	digits, ok := strings.CutPrefix(name, HandlePrefix)
	n, err := strconv.ParseUint(digits, 0, 32)
	if !ok || err != nil || n>>24 != persistent {
		return 0, fault.AskOperator(fmt.Errorf("key %q is not a persistent handle of a TPM", name), "name it as handle:0x81010001")
	}
	return uint32(n), nil
}

// LoadHandle returns the key that the TPM keeps at a persistent handle, as a factory leaves it there; its name is
// as ParseHandle reads it. Whether it has a password nobody says: the empty one is tried, and then that of
// Config.KeyAuthFile, each only where a wrong one does no harm or the TPM is far from its lockout.
func (s *Store) LoadHandle(ctx context.Context, name string) (crypto.Signer, error) {
	h, err := ParseHandle(name)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	var k *key
	err = s.operate(ctx, func(t *session) (err error) {
		k, err = s.adopt(t, tpm2.TPMHandle(h))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", name, err)
	}
	return k, nil
}

func (s *Store) adopt(t *session, h tpm2.TPMHandle) (*key, error) {
	public, _, err := t.readPublic(h)
	if oneOf(err, tpm2.TPMRCHandle) {
		return nil, fault.AskOperator(fmt.Errorf("nothing lies there: %w", err), hintEvicted)
	}
	if err != nil {
		return nil, label("read the public area", err)
	}
	b, err := newBlob(h, public, nil)
	if err != nil {
		return nil, fault.AskOperator(err, hintEvicted)
	}
	k := &key{store: s, blob: b, resident: h}
	return k, k.open(t)
}

// open proves that the key signs, and finds out whether it has a password.
func (k *key) open(t *session) error {
	k.blob.doubtful = true
	haveOne := k.store.keyAuth.file != ""
	// With a password at hand for a key that counts wrong ones, the empty one is not worth a try.
	k.blob.locked = haveOne && !k.blob.public.ObjectAttributes.NoDA
	h, err := k.locate(t)
	if err != nil {
		return err
	}
	err = k.probe(t, h)
	if isWrongPassword(err) && !k.blob.locked && haveOne {
		k.blob.locked = true
		err = k.probe(t, h)
	}
	if isWrongPassword(err) {
		err = fault.AskOperator(fmt.Errorf("the key has another password: %w", err), hintAuth)
	}
	return err
}
