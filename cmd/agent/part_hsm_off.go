//go:build nohsm

package main

import (
	"log/slog"

	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

const builtHSM = false

func openToken(*Config, durable.Step, *slog.Logger) (keys.Store, error) {
	return nil, notBuiltIn("PKCS#11", "nohsm")
}

func lookToken(*Config) (keys.Store, error) { return nil, notBuiltIn("PKCS#11", "nohsm") }
