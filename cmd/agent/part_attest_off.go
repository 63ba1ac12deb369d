//go:build noattest

package main

import (
	"context"
	"crypto"
)

func attestCommands() []command { return nil }

func (a *agent) attestedRequest(context.Context, string, crypto.Signer) ([]byte, error) {
	return nil, notBuiltIn("attestation", "noattest")
}
