// Package keys is the contract of a key store: a place in hardware where private keys are born, are used and
// die, and which they never leave.
package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"
)

// Errors that every store answers with, wrapped, so that errors.Is finds them.
var (
	ErrExists   = errors.New("key exists already")
	ErrNotFound = errors.New("key not found")
	// ErrGone says that no try will bring the key back: a new one has to be made, and certified from the beginning.
	ErrGone = errors.New("the hardware that held the key has been cleared or replaced")
)

// Store keeps private keys by name. A name is 1 to 64 of the characters a-z, 0-9, '-', '_' and '.', and does not
// start with a '.'. The keys of one store are all of one Algorithm. Its methods may be called side by side.
//
// The signers it returns sign for TLS 1.2 and 1.3 and for X.509; they stay usable for as long as the key exists,
// may be used side by side, and answer Public without touching the hardware.
type Store interface {
	// Create makes a fresh key that has survived a power cut when it returns. ErrExists where the name is taken:
	// a key is never overwritten.
	Create(ctx context.Context, name string) (crypto.Signer, error)
	// Open returns the key of that name, or ErrNotFound. Damage is another error.
	Open(ctx context.Context, name string) (crypto.Signer, error)
	// Delete destroys the key for good. A name that does not exist is fine.
	Delete(ctx context.Context, name string) error
	// Names lists all keys, sorted.
	Names(ctx context.Context) ([]string, error)
}

// Facts is what hardware itself says of a key that it holds.
type Facts struct {
	Place      string   `json:"place"`      // where it lives, as a person would say it
	Algorithm  string   `json:"algorithm"`  // ecdsa-p256, …
	Attributes []string `json:"attributes"` // as the hardware reads them back, in its own words
	Export     string   `json:"export"`     // what the hardware answered when asked to give the key away
	Refused    bool     `json:"refused"`    // the export was refused
	// Padding is who pads an RSA-PSS signature; empty where no padding is needed.
	Padding string `json:"padding,omitempty"`
}

// Inspector is a store that can be asked about a key. It is found by type assertion.
type Inspector interface {
	// Inspect reads the attributes of the key back from the hardware and tries to export it.
	Inspect(ctx context.Context, name string) (Facts, error)
}

// Algorithm names a kind of key, in the words of the configuration.
type Algorithm string

// The algorithms that hubs accept and chips have.
const (
	ECDSAP256 Algorithm = "ecdsa-p256" // the default: many chips have nothing larger
	ECDSAP384 Algorithm = "ecdsa-p384"
	RSA2048   Algorithm = "rsa-2048"
	RSA3072   Algorithm = "rsa-3072"
)

// Algorithms lists what ParseAlgorithm accepts.
var Algorithms = []Algorithm{ECDSAP256, ECDSAP384, RSA2048, RSA3072}

// ParseAlgorithm returns the algorithm of that name; "" is ECDSAP256.
func ParseAlgorithm(s string) (Algorithm, error) {
	if s == "" {
		return ECDSAP256, nil
	}
	for _, a := range Algorithms {
		if string(a) == s {
			return a, nil
		}
	}
	return "", fmt.Errorf("unknown key algorithm %q: one of %v", s, Algorithms)
}

// CheckName says why name cannot be the name of a key, or nil.
func CheckName(name string) error {
	if len(name) == 0 || len(name) > 64 || name[0] == '.' {
		return fmt.Errorf("key name %q: 1 to 64 characters, not starting with a dot", name)
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return fmt.Errorf("key name %q: %q is not one of a-z 0-9 . - _", name, r)
		}
	}
	return nil
}

// With is store and one more key that somebody else made and keeps: it is opened by its name, and neither
// created, listed nor deleted.
func With(store Store, name string, key crypto.Signer) Store {
	return &with{Store: store, name: name, key: key}
}

type with struct {
	Store
	name string
	key  crypto.Signer
}

func (w *with) Create(ctx context.Context, name string) (crypto.Signer, error) {
	if name == w.name {
		return nil, fmt.Errorf("create key %s: %w", name, ErrExists)
	}
	return w.Store.Create(ctx, name)
}

func (w *with) Open(ctx context.Context, name string) (crypto.Signer, error) {
	if name == w.name {
		return w.key, nil
	}
	return w.Store.Open(ctx, name)
}

func (w *with) Inspect(ctx context.Context, name string) (Facts, error) {
	i, ok := w.Store.(Inspector)
	if !ok || name == w.name {
		return Facts{}, fmt.Errorf("inspect key %s: %w", name, errors.ErrUnsupported)
	}
	return i.Inspect(ctx, name)
}

func (w *with) Delete(ctx context.Context, name string) error {
	if name == w.name {
		return fmt.Errorf("delete key %s: it is not ours to delete", name)
	}
	return w.Store.Delete(ctx, name)
}
