package hsm

import (
	"errors"
	"log/slog"
	"time"

	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

// Config says which token, and how to reach it.
type Config struct {
	// URI names the token (RFC 7512): pkcs11:token=LABEL;serial=N?module-path=/M.so&pin-source=file:/PIN. An object= in
	// it is the Prefix.
	URI string
	// PIN is the path of the file with the user PIN, where it is not the URI's pin-source: a systemd credential.
	PIN string
	// Ask asks a person for the PIN of the token of that label, where there is no file; nil asks nobody.
	Ask       func(token string) ([]byte, error)
	Algorithm keys.Algorithm // of keys to be created; keys.ECDSAP256 when empty
	Prefix    string         // of the CKA_LABEL of our keys, which the name follows; "devid-agent:" when empty
	StateDir  string         // directory of the PIN tries that were made
	Helper    string         // path of devid-pkcs11; beside this program or in PATH when empty
	Env       []string       // the helper's whole environment: vendors' libraries are configured by it
	// Deadline is how long the token may take for one answer, 15 s when zero. Making a key may take eight times that.
	Deadline time.Duration
	Idle     time.Duration // after which the helper is ended, 1 min when zero
	Step     durable.Step  // asked before and after each change of StateDir; nil never objects
	Log      *slog.Logger  // nil discards
}

// RSA4096 is what tokens have and no TPM is known to have.
const RSA4096 keys.Algorithm = "rsa-4096"

// ParseAlgorithm returns the algorithm of that name among those that tokens have; "" is keys.ECDSAP256.
func ParseAlgorithm(s string) (keys.Algorithm, error) {
	if s == string(RSA4096) {
		return RSA4096, nil
	}
	return keys.ParseAlgorithm(s)
}

func (a address) complete() error {
	switch {
	case a.module == "":
		return errors.New("pkcs11 uri: module-path is missing: it names the vendor's library")
	case a.token.Label == "" && a.token.Serial == "" && a.token.Slot == nil:
		return errors.New("pkcs11 uri: it names no token: by token=LABEL, serial=NUMBER or slot-id=NUMBER")
	case len(a.id) > 0:
		return errors.New("pkcs11 uri: id= is of one key, and a token with many is wanted here")
	}
	return nil
}

func (c Config) filled(a address) Config {
	if c.Prefix == "" {
		c.Prefix = a.object
	}
	if c.Prefix == "" {
		c.Prefix = "devid-agent:"
	}
	if c.Deadline == 0 {
		c.Deadline = 15 * time.Second
	}
	if c.Idle == 0 {
		c.Idle = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Env == nil {
		c.Env = []string{}
	}
	return c
}
