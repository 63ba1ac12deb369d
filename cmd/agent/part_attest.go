//go:build !noattest

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
)

const builtAttest = true

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
