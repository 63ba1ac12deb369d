package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
)

// tss2 is the type of a PEM block whose private key only the TPM can use.
const tss2 = "TSS2 PRIVATE KEY"

// openKeys opens where keys live: the TPM or the token that the configuration names.
func openKeys(c *Config, w world, log *slog.Logger) (keys.Store, error) {
	store, err := w.keys, error(nil)
	switch {
	case store != nil:
	case c.Keys.PKCS11 != "":
		store, err = openToken(c, w.step, log)
	default:
		store, err = openTPM(c, w.step, tpm.Open)
	}
	if err != nil {
		return nil, err
	}
	if w.step != nil {
		store = steppedKeys{store, w.step}
	}
	return store, nil
}

// lookKeys opens the key store for reading, beside an agent that may be running.
func lookKeys(c *Config) (keys.Store, error) {
	if c.Keys.PKCS11 != "" {
		return lookToken(c)
	}
	return openTPM(c, nil, tpm.Look)
}

func openTPM(c *Config, step durable.Step, open func(tpm.Config) (*tpm.Store, error)) (keys.Store, error) {
	algorithm, err := keys.ParseAlgorithm(c.Keys.Algorithm)
	if err != nil {
		return nil, err
	}
	bank, pcrs, err := parsePCRs(c.Keys.PCR.Select)
	if err != nil {
		return nil, err
	}
	persistent, err := parseHandle(c.Keys.Persistent)
	if err != nil {
		return nil, err
	}
	store, err := open(tpm.Config{
		TCTI: c.Keys.TPM, Dir: keysDir(c), Algorithm: algorithm, Step: step,
		OwnerAuthFile: c.Keys.OwnerAuth, KeyAuthFile: c.Keys.KeyAuth, Persistent: persistent, Endorsement: c.Keys.Endorsement, PadHere: c.Keys.PadInAgent,
		PCR: tpm.PCR{Bank: bank, PCRs: pcrs, PolicyKey: c.Keys.PCR.PolicyKey, Signature: c.Keys.PCR.Signature},
	})
	if err != nil {
		return nil, err
	}
	return store, nil
}

func parseHandle(s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 0, 32)
	return uint32(n), err
}

func keysDir(c *Config) string { return filepath.Join(c.Device.State, "keys") }

func (a *agent) bootstrap(ctx context.Context) (tls.Certificate, error) {
	return bootstrapCredential(ctx, a.config, a.keys)
}

// bootstrapCredential is what the device was born with, read anew each time: a person may have replaced it.
func bootstrapCredential(ctx context.Context, config *Config, store keys.Store) (tls.Certificate, error) {
	c := config.Bootstrap
	certificate, err := os.ReadFile(c.Certificate)
	if err != nil {
		return tls.Certificate{}, fault.AskOperator(fmt.Errorf("bootstrap: %w", err), "put the bootstrap certificate chain there, or correct bootstrap.certificate")
	}
	chain, err := identity.ParseChain(certificate)
	if err != nil {
		return tls.Certificate{}, fault.AskOperator(fmt.Errorf("bootstrap: %s: %w", c.Certificate, err), "put the chain there as PEM, leaf first")
	}
	key, err := bootstrapKey(ctx, c.Key, store)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("bootstrap: %w", err)
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(chain[0].PublicKey) {
		return tls.Certificate{}, fault.AskOperator(errors.New("bootstrap: the certificate is for another key"), "put a certificate and its own key there")
	}
	return identity.Certificate(chain, key), nil
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

// bootstrapKey opens the key that bootstrap.key names: in the hardware, or a PEM file.
func bootstrapKey(ctx context.Context, name string, store keys.Store) (crypto.Signer, error) {
	if stepped, ok := store.(steppedKeys); ok {
		store = stepped.Store
	}
	cannot := fault.As(fault.Permanent, fmt.Errorf("this key store opens no key like %s", name))
	if inHardware(name) {
		if token, ok := store.(uriLoader); ok {
			return token.Load(ctx, name)
		}
		if chip, ok := store.(handleLoader); ok {
			return chip.LoadHandle(ctx, name)
		}
		return nil, cannot
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.AskOperator(err, "put the bootstrap key there, or correct bootstrap.key")
	}
	block := keyBlock(text)
	if block == nil {
		return nil, fault.AskOperator(fmt.Errorf("no private key in %s", name), "put it there as PEM")
	}
	if block.Type != tss2 {
		return parseSigner(block)
	}
	if chip, ok := store.(blobLoader); ok {
		return chip.Load(ctx, text)
	}
	return nil, cannot
}

// bootstrapKeyName names the key of leaf in the identity of a device whose bootstrap certificate is the operational
// one. Another key has another name, so that a replaced bootstrap credential is seen as such.
func bootstrapKeyName(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return "bootstrap-" + hex.EncodeToString(sum[:4])
}

// ownsBootstrapKey reports whether the identity lives by the bootstrap key.
func ownsBootstrapKey(id *identity.Identity) bool {
	return id.Certified() && id.Key == bootstrapKeyName(id.Leaf())
}
