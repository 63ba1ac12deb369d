package tpm

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// key is a crypto.Signer whose private half only the TPM can use.
type key struct {
	store   *Store
	name    string // "" for a key that lies elsewhere
	blob    blob
	padding string // who pads RSA-PSS; found out by the probe

	// Guarded by the store's turn.
	saved    *memory        // nil when the TPM has to load the blob again
	resident tpm2.TPMHandle // where the TPM itself keeps the key; 0 where it does not
	gone     bool           // deleted
	guess    *guess         // the password under trial
}

// load makes a signer of the blob and proves that it signs.
func (s *Store) load(t *session, name string, b blob) (*key, error) {
	k := &key{store: s, name: name, blob: b}
	handle, err := k.locate(t)
	if err != nil {
		return nil, err
	}
	if err := k.probe(t, handle); err != nil {
		return nil, err
	}
	return k, nil
}

// Public implements crypto.Signer without asking the TPM.
func (k *key) Public() crypto.PublicKey { return k.blob.key }

// SignatureSchemes are those that the key can sign for in TLS, or nil for all of its kind. A key that makes no
// RSA-PSS signatures is no use in TLS 1.3, where its owner would silently present no certificate at all.
func (k *key) SignatureSchemes() []tls.SignatureScheme { return schemes(k.blob.public, k.padding) }

// Sign implements crypto.Signer. It makes ECDSA signatures in ASN.1, RSA PKCS #1 v1.5, and RSA-PSS with a salt as
// long as the hash; its randomness is the TPM's, but for the salts that are made here.
func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r, err := k.request(digest, opts)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("sign with %s: %w", k, err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), makingKeys*k.store.timeout)
	defer cancel()
	var signature []byte
	err = k.store.operate(ctx, func(t *session) error {
		signature, err = k.sign(t, r)
		if k.displaced(err) {
			signature, err = k.sign(t, r)
		}
		if k.blob.private == nil && isStale(err) {
			return fault.AskOperator(fmt.Errorf("the TPM no longer has the key: %w", err), hintEvicted)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k, err)
	}
	return signature, nil
}

func (k *key) sign(t *session, r signing) ([]byte, error) {
	handle, err := k.locate(t)
	if err != nil {
		return nil, err
	}
	signature, err := r.sign(t, k, handle)
	if err == nil && k.resident != 0 && r.check(k.blob.key, signature) != nil {
		return nil, errDisplaced
	}
	return signature, err
}

// errDisplaced says that another key lies where ours lay: handles are anybody's, and the TPM checks no names.
var errDisplaced = errors.New("another key lies at the handle")

// displaced reports that the key was not where it was left loaded, and forgets that place. The next locate loads it.
func (k *key) displaced(err error) bool {
	left := k.resident != 0 || k.store.kept.key == k && k.store.kept.used
	lost := isStale(err) || errors.Is(err, errDisplaced) || isBroken(err)
	if !left || !lost || k.blob.private == nil {
		return false
	}
	k.resident = 0
	k.store.kept.key = nil
	return true
}

// isBroken reports that the driver dropped what it kept for us, as it does when the chip was reset.
func isBroken(err error) bool {
	_, answered := errors.AsType[tpm2.TPMRC](err)
	late := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	return err != nil && !answered && !late && !fault.Stopped(err) && fault.Of(err) == fault.Transient
}

// String is the key in an error.
func (k *key) String() string {
	switch {
	case k.name != "":
		return "key " + k.name
	case k.blob.private == nil:
		return fmt.Sprintf("the key at %#x", uint32(k.resident))
	}
	return "the loaded key"
}

// handle loads the key and opens it for one command. The session flushes it.
func (k *key) handle(t *session) (object, error) {
	h, err := k.locate(t)
	if err != nil {
		return object{}, err
	}
	return k.authorize(t, h)
}

// locate returns the handle of the key: where the TPM keeps it, where we left it, from its context; or from the
// blob where there is no context or the TPM does not take it any more because it was restarted.
func (k *key) locate(t *session) (tpm2.TPMHandle, error) {
	switch {
	case k.gone:
		return 0, keys.ErrNotFound
	case k.resident != 0:
		return k.resident, nil
	}
	if h, found := t.left(k); found {
		return h, nil
	}
	h, err := k.fetch(t)
	if err == nil {
		t.keep(k, h)
	}
	return h, err
}

func (k *key) fetch(t *session) (tpm2.TPMHandle, error) {
	if k.saved != nil {
		h, err := t.recall(k.saved.context)
		if !isStale(err) {
			return h, label("load the context of the key", err)
		}
		k.saved = nil
	}
	h, saved, err := t.restore(k.blob, k.parent())
	if err == nil {
		k.saved = saved
	}
	return h, err
}

// parent is the Name that the key's parent had when we last used it.
func (k *key) parent() []byte { return k.store.parentOf(k.name) }
