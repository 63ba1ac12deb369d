package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/sas"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/provisioning/dps"
)

// tokens makes what a device without a certificate shows to its hub; nil where mac is.
func tokens(mac sas.MAC) func(ctx context.Context, resource string, expiry time.Time) (string, error) {
	if mac == nil {
		return nil
	}
	return func(ctx context.Context, resource string, expiry time.Time) (string, error) {
		return sas.Token(ctx, resource, "", expiry, mac)
	}
}

// hubMAC signs the tokens for the hub with the key that the device has enrolled with.
func (c *Config) hubMAC(store keys.Store) sas.MAC {
	switch {
	case c.Hub.SymmetricKey != "":
		return fileMAC(func() ([]byte, error) { return readSymmetricKey("hub.symmetric_key", c.Hub.SymmetricKey) })
	case c.Provisioning.DPS.Attestation == attestTPM:
		return func(ctx context.Context, data []byte) ([]byte, error) {
			chip, err := endorsed(store)
			if err != nil {
				return nil, err
			}
			return chip.HMAC(ctx, dps.HubKey, data)
		}
	}
	return fileMAC(func() ([]byte, error) { return c.dpsKey() })
}

// fileMAC reads the key anew for each token: a person may have replaced it.
func fileMAC(read func() ([]byte, error)) sas.MAC {
	return func(ctx context.Context, data []byte) ([]byte, error) {
		key, err := read()
		if err != nil {
			return nil, err
		}
		return sas.SharedKey(key)(ctx, data)
	}
}

// dpsKey is the device's own key for symmetric-key attestation: from its file, or derived from that of the group.
func (c *Config) dpsKey() ([]byte, error) {
	if file := c.Provisioning.DPS.SymmetricKey; file != "" {
		return readSymmetricKey("provisioning.dps.symmetric_key", file)
	}
	group, err := readSymmetricKey("provisioning.dps.group_key", c.Provisioning.DPS.GroupKey)
	if err != nil {
		return nil, err
	}
	return sas.DeriveKey(group, c.registrationID()), nil
}

// readSymmetricKey reads the key in base64 that field names. What it read is never in its error.
func readSymmetricKey(field, path string) ([]byte, error) {
	text, mode, err := readRegular(path)
	if err != nil {
		what, remedy := whyUnreadable(path, err)
		return nil, fault.AskOperator(fmt.Errorf("%s: %s", field, what), remedy)
	}
	if mode&0o007 != 0 {
		return nil, fault.AskOperator(fmt.Errorf("%s: %s is open to everyone (mode %04o)", field, path, mode), "close it: chmod 0600 "+path)
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) == 0 {
		return nil, fault.AskOperator(fmt.Errorf("%s: %s does not hold a key in base64", field, path),
			"put the primary key there as the portal shows it, on one line")
	}
	return key, nil
}

// endorsed is the key store as a chip that is known by its endorsement key.
func endorsed(store keys.Store) (keys.Endorsed, error) {
	if stepped, ok := store.(steppedKeys); ok {
		store = stepped.Store
	}
	chip, ok := store.(keys.Endorsed)
	if !ok {
		return nil, fault.AskOperator(errors.New("TPM attestation: the keys are not in a TPM"), "set keys.tpm, or another provisioning.dps.attestation")
	}
	return chip, nil
}
