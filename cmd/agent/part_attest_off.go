//go:build noattest

package main

import (
	"context"
	"crypto"

	"github.com/devid-agent/devid-agent/internal/commands"
)

const builtAttest = false

func attestCommands() []commands.Command { return nil }

func (a *agent) attestedRequest(context.Context, string, crypto.Signer) ([]byte, error) {
	return nil, notBuiltIn("attestation", "noattest")
}
