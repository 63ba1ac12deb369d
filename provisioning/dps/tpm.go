package dps

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
)

// TPM is a TPM that can prove to be the one which is enrolled ("TPM attestation", Microsoft Learn).
type TPM interface {
	// Endorsement returns the public endorsement key and storage root key, each as a TPM2B_PUBLIC.
	Endorsement(ctx context.Context) (ek, srk []byte, err error)
	// Activate opens blob, which only this TPM can, and keeps the HMAC key in it under name, in place of one of before.
	Activate(ctx context.Context, name string, blob []byte) error
	// HMAC is HMAC-SHA256 of data with the key of that name.
	HMAC(ctx context.Context, name string, data []byte) ([]byte, error)
}

// Names of keys in the TPM. They are two, so that a registration that does not come to its end leaves the key alone that
// the device shows to its hub.
const (
	// HubKey makes the tokens for the hub, {hub}/devices/{device ID}, after a Place.
	HubKey = "dps-hub"
	// registrationKey makes the tokens for the service.
	registrationKey = "dps-registration"
)

// tpmKeys are the public keys of a TPM as the service wants them.
type tpmKeys struct {
	EndorsementKey string `json:"endorsementKey"`
	StorageRootKey string `json:"storageRootKey"`
}

// byTPM is the proof of having the enrolled TPM. It has a token once the service's challenge is answered.
type byTPM struct {
	tpm      TPM
	keys     tpmKeys
	id       string
	resource string
	ticket   *ticket // nil before the challenge
}

func (c *Client) byTPM(ctx context.Context, id string) (proof, error) {
	ek, srk, err := c.config.TPM.Endorsement(ctx)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	keys := tpmKeys{base64.StdEncoding.EncodeToString(ek), base64.StdEncoding.EncodeToString(srk)}
	return &byTPM{tpm: c.config.TPM, keys: keys, id: id, resource: c.resource(id)}, nil
}

func (b *byTPM) certificate() tls.Certificate { return tls.Certificate{} }

func (b *byTPM) token(ctx context.Context) (string, error) {
	if b.ticket == nil {
		return "", nil
	}
	return b.ticket.token(ctx)
}

func (b *byTPM) remedy() string {
	return fmt.Sprintf("create an individual enrollment by TPM with registration ID %s and endorsement key %s, and see that it is enabled "+
		"and the clock of the device right", b.id, b.keys.EndorsementKey)
}

// challenge is the body of the 401 that is none.
type challenge struct {
	Key  string `json:"authenticationKey"` // base64
	Name string `json:"keyName"`
}

// parseChallenge reads the body of a 401; ok is false where it is a refusal.
func parseChallenge(body []byte) (blob []byte, name string, ok bool) {
	var c challenge
	if err := json.Unmarshal(body, &c); err != nil || c.Key == "" {
		return nil, "", false
	}
	blob, err := base64.StdEncoding.DecodeString(c.Key)
	if err != nil || len(blob) == 0 {
		return nil, "", false
	}
	if c.Name == "" {
		c.Name = keyName
	}
	return blob, c.Name, true
}

// answer takes up the challenge in a 401; ok is false where there is none, or one has been answered already.
func (b *byTPM) answer(ctx context.Context, body []byte) (ok bool, err error) {
	blob, name, ok := parseChallenge(body)
	if !ok || b.ticket != nil {
		return false, nil
	}
	if err := b.tpm.Activate(ctx, registrationKey, blob); err != nil {
		return false, fmt.Errorf("answer the challenge: %w", err)
	}
	mac := func(ctx context.Context, data []byte) ([]byte, error) { return b.tpm.HMAC(ctx, registrationKey, data) }
	b.ticket = &ticket{resource: b.resource, name: name, mac: mac}
	return true, nil
}

// settle keeps the key for the hub.
func (b *byTPM) settle(ctx context.Context, s state) error {
	blob, err := base64.StdEncoding.DecodeString(s.TPM.AuthenticationKey)
	if err == nil && len(blob) == 0 {
		err = errors.New("there is none")
	}
	if err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("the service's key for hub %s: %w", s.AssignedHub, err))
	}
	if err := b.tpm.Activate(ctx, HubKey, blob); err != nil {
		return fmt.Errorf("keep the key for hub %s: %w", s.AssignedHub, err)
	}
	return nil
}
