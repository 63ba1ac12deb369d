package station

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
)

// Place is where private keys of the station live: in the TPM that TPM names, in the token that PKCS11 names, and
// else in files. It keeps no secret, only the names of files that do.
type Place struct {
	TPM         string   `json:"tpm,omitempty"`         // TCTI string, as device:/dev/tpmrm0
	PKCS11      string   `json:"pkcs11,omitempty"`      // URI of RFC 7512
	PIN         string   `json:"pin,omitempty"`         // file with the token's PIN
	OwnerAuth   string   `json:"owner_auth,omitempty"`  // file with the password of the TPM's owner hierarchy
	Helper      string   `json:"helper,omitempty"`      // path of devid-pkcs11; beside this program or in PATH when empty
	Environment []string `json:"environment,omitempty"` // of the helper: NAME=VALUE
	Algorithm   string   `json:"algorithm,omitempty"`   // of keys to be made; ecdsa-p256 when empty
}

// Check says what contradicts itself, with its remedy, or nil.
func (p Place) Check() error {
	if p.TPM != "" && p.PKCS11 != "" {
		return fault.AskOperator(errors.New("a key lives in a TPM or in a token, not in both"), "give --tpm or --pkcs11")
	}
	if _, err := hsm.ParseAlgorithm(p.Algorithm); err != nil {
		return fault.AskOperator(err, "choose one of ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096")
	}
	return nil
}

// open opens the place; dir is where its files lie. The store may be an io.Closer.
func (p Place) open(dir string) (keys.Store, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	algorithm, err := hsm.ParseAlgorithm(p.Algorithm)
	if err != nil {
		return nil, err
	}
	switch {
	case p.TPM != "":
		return opened(tpm.Open(tpm.Config{TCTI: p.TPM, Dir: dir, Algorithm: algorithm, OwnerAuthFile: p.OwnerAuth}))
	case p.PKCS11 != "":
		return opened(hsm.Open(hsm.Config{URI: p.PKCS11, PIN: p.PIN, Helper: p.Helper, Env: p.Environment,
			Algorithm: algorithm, StateDir: dir}))
	}
	return opened(OpenFiles(dir, algorithm))
}

// opened keeps a nil pointer from becoming a store.
func opened[S keys.Store](s S, err error) (keys.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// String is the place as a person would say it.
func (p Place) String() string {
	switch {
	case p.TPM != "":
		return "TPM " + p.TPM
	case p.PKCS11 != "":
		return "token " + p.PKCS11
	}
	return "file"
}

// closeStore ends what a store has started.
func closeStore(s keys.Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Abilities that a key store may have: to open keys which somebody else made in its hardware.
type (
	blobLoader interface {
		Load(ctx context.Context, pem []byte) (crypto.Signer, error)
	}
	handleLoader interface {
		LoadHandle(ctx context.Context, name string) (crypto.Signer, error)
	}
	uriLoader interface {
		Load(ctx context.Context, uri string) (crypto.Signer, error)
	}
)

// LoadKey opens one key that exists: name is the path of a PEM file, of the TPM's own format too, handle:0x81… in the
// TPM, or a pkcs11: URI with object= or id=. The second result ends what the place has started, and is never nil.
func (p Place) LoadKey(ctx context.Context, name, dir string) (crypto.Signer, func() error, error) {
	nothing := func() error { return nil }
	if !strings.HasPrefix(name, "pkcs11:") && !strings.HasPrefix(name, tpm.HandlePrefix) {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, nothing, fault.AskOperator(err, "put the private key there as PEM, or name another file")
		}
		block := keyBlock(text)
		switch {
		case block == nil:
			return nil, nothing, fault.AskOperator(fmt.Errorf("no private key in %s", name), "put it there as PEM")
		case block.Type != tss2:
			key, err := parseKey(block)
			return key, nothing, err
		}
		return p.loadWith(dir, func(s keys.Store) (crypto.Signer, error) { return loadBlob(ctx, s, text) })
	}
	return p.loadWith(dir, func(s keys.Store) (crypto.Signer, error) { return loadNamed(ctx, s, name) })
}

func (p Place) loadWith(dir string, load func(keys.Store) (crypto.Signer, error)) (crypto.Signer, func() error, error) {
	store, err := p.open(dir)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	end := func() error { return closeStore(store) }
	key, err := load(store)
	if err != nil {
		return nil, func() error { return nil }, errors.Join(err, end())
	}
	return key, end, nil
}

func loadBlob(ctx context.Context, s keys.Store, text []byte) (crypto.Signer, error) {
	if chip, ok := s.(blobLoader); ok {
		return chip.Load(ctx, text)
	}
	return nil, fault.AskOperator(errors.New("this key can be used by a TPM only"), "name the TPM: --tpm device:/dev/tpmrm0")
}

func loadNamed(ctx context.Context, s keys.Store, name string) (crypto.Signer, error) {
	if token, ok := s.(uriLoader); ok && strings.HasPrefix(name, "pkcs11:") {
		return token.Load(ctx, name)
	}
	if chip, ok := s.(handleLoader); ok && strings.HasPrefix(name, tpm.HandlePrefix) {
		return chip.LoadHandle(ctx, name)
	}
	return nil, fault.AskOperator(fmt.Errorf("no hardware is named for the key %s", name), "name it: --tpm, or --pkcs11")
}
