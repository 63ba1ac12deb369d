//go:build !nohsm

package main

import (
	"log/slog"

	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

const builtHSM = true

func openToken(c *Config, step durable.Step, log *slog.Logger) (keys.Store, error) {
	return withToken(c, step, log, hsm.Open)
}

// lookToken opens the token for reading, beside an agent that may be running.
func lookToken(c *Config) (keys.Store, error) { return withToken(c, nil, nil, hsm.Look) }

func withToken(c *Config, step durable.Step, log *slog.Logger, open func(hsm.Config) (*hsm.Store, error)) (keys.Store, error) {
	algorithm, err := hsm.ParseAlgorithm(c.Keys.Algorithm)
	if err != nil {
		return nil, err
	}
	store, err := open(hsm.Config{
		URI: c.Keys.PKCS11, PIN: c.Keys.PIN, Ask: asker(), Helper: c.Keys.Helper, Env: c.Keys.Environment,
		Algorithm: algorithm, StateDir: keysDir(c), Step: step, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return store, nil
}
