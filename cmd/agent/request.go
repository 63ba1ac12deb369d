package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning"
)

// signingRequest is how certificate requests are made: with evidence of where the key was born, where that is wanted.
func (a *agent) signingRequest() func(ctx context.Context, cn string, key crypto.Signer) ([]byte, error) {
	if !a.config.Keys.Attest {
		return provisioning.SigningRequest
	}
	return a.attestedRequest
}

func (a *agent) attestedRequest(ctx context.Context, cn string, key crypto.Signer) ([]byte, error) {
	attester, ok := a.keys.(keys.Attester)
	if !ok {
		return nil, fault.AskOperator(errors.New("certificate request: this key store gives no evidence"), "set keys.attest: false")
	}
	name, err := nameOf(ctx, a.keys, key)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	// No service gives a nonce: the evidence is bound to the device and the key, and is as fresh as the key.
	nonce := sha256.Sum256(append([]byte(cn), public...))
	evidence, err := attester.Attest(ctx, name, nonce[:])
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return attest.CSR(cn, key, evidence)
}

// nameOf finds the key in the store that holds it.
func nameOf(ctx context.Context, store keys.Store, key crypto.Signer) (string, error) {
	names, err := store.Names(ctx)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		other, err := store.Open(ctx, name)
		if err != nil {
			continue // another key's trouble
		}
		if public, ok := other.Public().(interface{ Equal(crypto.PublicKey) bool }); ok && public.Equal(key.Public()) {
			return name, nil
		}
	}
	return "", fault.As(fault.Permanent, errors.New("the key store does not hold this key"))
}
