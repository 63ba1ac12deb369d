package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
)

// tss2 is the type of a PEM block whose private key only the TPM can use.
const tss2 = "TSS2 PRIVATE KEY"

func openKeys(c *Config, w world) (keys.Store, error) {
	store := w.keys
	if store == nil {
		chip, err := openTPM(c, w)
		if err != nil {
			return nil, err
		}
		store = chip
	}
	if w.step != nil {
		store = steppedKeys{store, w.step}
	}
	return store, nil
}

func openTPM(c *Config, w world) (*tpm.Store, error) {
	algorithm, err := keys.ParseAlgorithm(c.Keys.Algorithm)
	if err != nil {
		return nil, err
	}
	return tpm.Open(tpm.Config{TCTI: c.Keys.TPM, Dir: filepath.Join(c.Device.State, "keys"), Algorithm: algorithm, Step: w.step})
}

// lookKeys opens the key store for reading, beside an agent that may be running.
func lookKeys(c *Config) (*tpm.Store, error) {
	return tpm.Look(tpm.Config{TCTI: c.Keys.TPM, Dir: filepath.Join(c.Device.State, "keys")})
}

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
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return tls.Certificate{}, fault.AskOperator(fmt.Errorf("bootstrap: %w", err), "put the bootstrap key there, or correct bootstrap.key")
	}
	if !bytes.Contains(key, []byte("BEGIN "+tss2)) {
		cert, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return tls.Certificate{}, fault.AskOperator(fmt.Errorf("bootstrap: %s, %s: %w", c.Certificate, c.Key, err), "put a certificate and its own key there")
		}
		return cert, nil
	}
	return bootstrapInTPM(ctx, config, store, certificate, key)
}

// loader is a key store that opens keys which somebody else made in its hardware.
type loader interface {
	Load(ctx context.Context, pem []byte) (crypto.Signer, error)
}

func bootstrapInTPM(ctx context.Context, config *Config, store keys.Store, certificate, key []byte) (tls.Certificate, error) {
	chip, ok := store.(loader)
	if !ok {
		return tls.Certificate{}, fault.As(fault.Permanent, errors.New("bootstrap: the key store opens no "+tss2))
	}
	signer, err := chip.Load(ctx, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("bootstrap: %s: %w", config.Bootstrap.Key, err)
	}
	chain, err := identity.ParseChain(certificate)
	if err != nil {
		return tls.Certificate{}, fault.AskOperator(fmt.Errorf("bootstrap: %s: %w", config.Bootstrap.Certificate, err), "put the chain there as PEM, leaf first")
	}
	if public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(chain[0].PublicKey) {
		return tls.Certificate{}, fault.AskOperator(errors.New("bootstrap: the certificate is for another key"), "put a certificate and its own key there")
	}
	return identity.Certificate(chain, signer), nil
}

// bootstrapKeyName names the key of leaf in the identity of a device whose bootstrap certificate is the operational
// one. Another key has another name, so that a replaced bootstrap credential is seen as such.
func bootstrapKeyName(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return "bootstrap-" + hex.EncodeToString(sum[:4])
}
