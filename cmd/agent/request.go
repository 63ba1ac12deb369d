package main

import (
	"context"
	"crypto"
	"errors"

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
