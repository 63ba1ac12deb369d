package dps

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
)

// The transports.
const (
	MQTT      = "mqtt"      // TLS on port 8883
	WebSocket = "websocket" // MQTT on port 443
	HTTPS     = "https"     // port 443
)

// Check says what does not fit together, all at once and in the names of the settings, or nil.
func (c Config) Check() error {
	return errors.Join(c.checkWay(c.RegistrationID), c.checkAttestation())
}

// checkWay is about everything but the attestation.
func (c Config) checkWay(id string) error {
	var all []error
	if c.IDScope == "" || strings.ContainsAny(c.IDScope, "/?#+& ") {
		all = append(all, fmt.Errorf("provisioning.dps.id_scope: %q is no ID scope", c.IDScope))
	}
	if c.Transport != "" && c.Transport != MQTT && c.Transport != WebSocket && c.Transport != HTTPS {
		all = append(all, fmt.Errorf("provisioning.dps.transport: %q is none of mqtt, websocket, https", c.Transport))
	}
	if id != "" {
		all = append(all, checkID(id))
	}
	var object map[string]json.RawMessage
	if c.Payload != nil && (json.Unmarshal(c.Payload, &object) != nil || object == nil) {
		all = append(all, errors.New("provisioning.dps.payload is not a JSON object"))
	}
	return errors.Join(all...)
}

func (c Config) checkAttestation() error {
	var given []string
	if c.Bootstrap != nil {
		given = append(given, "x509 (bootstrap.certificate)")
	}
	if c.SharedKey != nil {
		given = append(given, "symmetric (provisioning.dps.symmetric_key or group_key)")
	}
	if c.TPM != nil {
		given = append(given, "tpm")
	}
	switch {
	case len(given) == 0:
		return errors.New("provisioning.dps.attestation: there is neither bootstrap.certificate nor provisioning.dps.symmetric_key or group_key, nor a TPM")
	case len(given) > 1:
		return fmt.Errorf("provisioning.dps.attestation: exactly one is possible, not %s", strings.Join(given, " and "))
	case c.TPM != nil && c.Transport != "" && c.Transport != HTTPS:
		return fmt.Errorf("provisioning.dps.transport: attestation tpm needs https, not %s", c.Transport)
	}
	return nil
}

// maxID is how long a registration ID may be.
const maxID = 128

// checkID holds a registration ID against the service's rules ("Terms used with DPS", Microsoft Learn).
func checkID(id string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	switch {
	case id == "" || len(id) > maxID:
		return fmt.Errorf("provisioning.dps.registration_id: %q is not 1 to %d characters long", id, maxID)
	case strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune(letters+"-._:", r) }):
		return fmt.Errorf("provisioning.dps.registration_id: %q has characters other than - . _ : and letters and digits", id)
	case !strings.ContainsRune(letters+"-", rune(id[len(id)-1])):
		return fmt.Errorf("provisioning.dps.registration_id: %q does not end with a letter, a digit or -", id)
	}
	return nil
}

// labelled asks the operator to correct a configuration.
func labelled(err error) error {
	return fault.AskOperator(err, "correct the configuration")
}
