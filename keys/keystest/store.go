// Package keystest is the contract of keys.Store as tests, and the only software keys that tests may use.
package keystest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/devid-agent/devid-agent/keys"
)

// Store keeps software keys in memory. It is hardware in the eyes of the agent: the value outlives every reboot
// that a test makes the agent go through, and forgets nothing that was created and not deleted.
type Store struct {
	// Cut is asked before ("create", "delete") and after ("created", "deleted") each change, with the key's name.
	// An error ends the operation there, as a power cut does. Nil never objects. Set it while nobody uses the store.
	Cut func(verb, name string) error

	algorithm keys.Algorithm
	mu        sync.Mutex
	byName    map[string]*key
}

// NewStore is an empty store whose keys are of algorithm a.
func NewStore(a keys.Algorithm) *Store {
	return &Store{algorithm: a, byName: map[string]*key{}}
}

// Create implements keys.Store.
func (s *Store) Create(ctx context.Context, name string) (crypto.Signer, error) {
	if err := allowed(ctx, name); err != nil {
		return nil, fmt.Errorf("create key: %w", err)
	}
	if err := s.at("create", name); err != nil {
		return nil, err
	}
	private, err := Generate(s.algorithm)
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", name, err)
	}
	k := &key{store: s, name: name, private: private}
	if !s.add(k) {
		return nil, fmt.Errorf("create key %s: %w", name, keys.ErrExists)
	}
	return k, s.at("created", name)
}

// Open implements keys.Store.
func (s *Store) Open(ctx context.Context, name string) (crypto.Signer, error) {
	if err := allowed(ctx, name); err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.byName[name]
	if !ok {
		return nil, fmt.Errorf("open key %s: %w", name, keys.ErrNotFound)
	}
	return k, nil
}

// Delete implements keys.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := allowed(ctx, name); err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	if err := s.at("delete", name); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.byName, name)
	s.mu.Unlock()
	return s.at("deleted", name)
}

// Names implements keys.Store.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.byName)), nil
}

func (s *Store) add(k *key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.byName[k.name]; taken {
		return false
	}
	s.byName[k.name] = k
	return true
}

func (s *Store) has(k *key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[k.name] == k
}

func (s *Store) at(verb, name string) error {
	if s.Cut == nil {
		return nil
	}
	return s.Cut(verb, name)
}

func allowed(ctx context.Context, name string) error {
	if err := keys.CheckName(name); err != nil {
		return err
	}
	return ctx.Err()
}

// key hides its private half, so that nobody comes to lean on a key that can be read.
type key struct {
	store   *Store
	name    string
	private crypto.Signer
}

func (k *key) Public() crypto.PublicKey { return k.private.Public() }

func (k *key) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if !k.store.has(k) {
		return nil, fmt.Errorf("sign with key %s: %w", k.name, keys.ErrNotFound)
	}
	if h := opts.HashFunc(); h != 0 && len(digest) != h.Size() {
		return nil, fmt.Errorf("sign with key %s: digest of %d bytes is not one of %v", k.name, len(digest), h)
	}
	return k.private.Sign(random, digest, opts)
}

// Generate makes a software key, for the test's own authorities and servers.
func Generate(a keys.Algorithm) (crypto.Signer, error) {
	switch a {
	case keys.ECDSAP256, "":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case keys.ECDSAP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case keys.RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case keys.RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("unknown key algorithm %q", a)
}
