// Package dps enrolls at Azure's Device Provisioning Service: by certificate, shared key or TPM, over MQTT, WebSocket or
// HTTPS, with a certificate request, whose certificate comes back with the assignment, or without one.
//
// Names and rules are those of "Communicate with DPS using the MQTT protocol" and "Symmetric key attestation" (Microsoft
// Learn) and of the service's published device API.
package dps

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/provisioning"
)

// Global is the endpoint of all instances in Azure's public cloud.
const Global = "global.azure-devices-provisioning.net"

// Config is where to enroll, and as whom. IDScope is needed, and exactly one of Bootstrap, SharedKey and TPM for Enroll
// and Place.
type Config struct {
	Endpoint   string     // default Global
	Connect    string     // host:port to dial; "" = Endpoint, port 8883 for MQTT, else 443. TLS keeps the name Endpoint
	IDScope    string     // of the service instance, 0ne…
	APIVersion string     // default 2025-07-01-preview, the first with certificate requests in DER
	Roots      mtls.Roots // nil = the system's
	// RegistrationID is what the enrollment is for; "" = the device ID. With a certificate it is its common name.
	RegistrationID string
	Transport      string // MQTT, WebSocket or HTTPS; default MQTT, and HTTPS for a TPM, which nothing else can carry

	// Bootstrap returns the certificate to authenticate with, and all intermediates of its chain.
	Bootstrap func(ctx context.Context) (tls.Certificate, error)
	// SharedKey returns the device's own key, not in base64. That of a device in a group comes from sas.DeriveKey.
	SharedKey func(ctx context.Context) ([]byte, error)
	KeySource string // what to look at when the key is wrong, for hints; default provisioning.dps.symmetric_key
	// TPM answers the service's challenge, and keeps the keys that come with it.
	TPM TPM

	// Request makes the certificate request (DER) for a key; nil = provisioning.SigningRequest.
	Request func(ctx context.Context, commonName string, key crypto.Signer) ([]byte, error)
	// TrustBundle is told the certificates that the service wants the device to trust; nil = nobody wants to know. Only
	// the API of 2021-11-01-preview has them.
	TrustBundle func([]*x509.Certificate)
	Payload     json.RawMessage // a JSON object for custom allocation; nil = none
	UserAgent   string          // told to the service as ClientVersion
	Deadline    time.Duration   // for one enrollment; default 5 min
	Log         *slog.Logger    // nil = silent
	// Dial opens the transport under TLS; nil = TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client enrolls. It is a provisioning.Enroller and a provisioning.Assigner.
type Client struct{ config Config }

var (
	_ provisioning.Enroller = (*Client)(nil)
	_ provisioning.Assigner = (*Client)(nil)
)

// New returns a Client that enrolls as c says.
func New(c Config) *Client {
	if c.Endpoint == "" {
		c.Endpoint = Global
	}
	if c.APIVersion == "" {
		c.APIVersion = "2025-07-01-preview"
	}
	if c.Transport == "" {
		c.Transport = MQTT
		if c.TPM != nil {
			c.Transport = HTTPS
		}
	}
	if c.KeySource == "" {
		c.KeySource = "provisioning.dps.symmetric_key"
	}
	if c.Deadline <= 0 {
		c.Deadline = 5 * time.Minute
	}
	if c.Request == nil {
		c.Request = provisioning.SigningRequest
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{c}
}

// Enroll registers the device with a certificate request for r.Key. The chain of the grant is the one that the service
// has issued for it. Without a key it is Place.
func (c *Client) Enroll(ctx context.Context, r provisioning.Request) (identity.Grant, error) {
	if r.Key == nil {
		a, err := c.Place(ctx, r.DeviceID)
		return identity.Grant{Assignment: a}, err
	}
	grant, err := c.enroll(ctx, r)
	if err != nil {
		return identity.Grant{}, fmt.Errorf("dps: enroll %s: %w", r.DeviceID, err)
	}
	return grant, nil
}

func (c *Client) enroll(ctx context.Context, r provisioning.Request) (identity.Grant, error) {
	speech := c.speech()
	if speech.csr == nil {
		return identity.Grant{}, fault.AskOperator(fmt.Errorf("API version %s carries no certificate request", c.config.APIVersion),
			"set provisioning.dps.api_version to "+newest().version+", or provisioning.dps.csr to false")
	}
	registration, err := c.begin(ctx, r.DeviceID)
	if err != nil {
		return identity.Grant{}, err
	}
	registration.speech = speech
	if registration.csr, err = c.config.Request(ctx, registration.id, r.Key); err != nil {
		return identity.Grant{}, err
	}
	state, err := registration.run(ctx)
	if err != nil {
		return identity.Grant{}, err
	}
	chain, err := speech.chain(state)
	if err != nil {
		return identity.Grant{}, err
	}
	c.tellTrust(state)
	return identity.Grant{Assignment: state.assignment(), Chain: chain}, nil
}

// Place registers the device without a certificate request, for one that shows tokens to its hub. After attestation by
// TPM the key for them is in the TPM, under the name HubKey.
func (c *Client) Place(ctx context.Context, deviceID string) (identity.Assignment, error) {
	registration, err := c.begin(ctx, deviceID)
	if err != nil {
		return identity.Assignment{}, fmt.Errorf("dps: register %s: %w", deviceID, err)
	}
	state, err := registration.run(ctx)
	if err == nil {
		err = registration.proof.settle(ctx, state)
	}
	if err != nil {
		return identity.Assignment{}, fmt.Errorf("dps: register %s: %w", deviceID, err)
	}
	c.tellTrust(state)
	return state.assignment(), nil
}

// Assign registers the device that cert belongs to, with cert.
func (c *Client) Assign(ctx context.Context, cert tls.Certificate) (identity.Assignment, error) {
	state, err := c.assign(ctx, cert)
	if err != nil {
		return identity.Assignment{}, fmt.Errorf("dps: register by certificate: %w", err)
	}
	return state.assignment(), nil
}

func (c *Client) assign(ctx context.Context, cert tls.Certificate) (state, error) {
	name, err := commonName(cert)
	if err != nil {
		return state{}, err
	}
	if want := c.config.RegistrationID; want != "" && !strings.EqualFold(name, want) {
		return state{}, misnamed(name, want)
	}
	if err := labelled(c.config.checkWay(name)); err != nil {
		return state{}, err
	}
	return c.registration(name, &byCertificate{cert, name}).run(ctx)
}

// begin prepares the registration of a device as the configuration has it attest.
func (c *Client) begin(ctx context.Context, deviceID string) (*registration, error) {
	if err := labelled(c.config.Check()); err != nil {
		return nil, err
	}
	id := c.config.RegistrationID
	if id == "" {
		id = deviceID
	}
	if err := labelled(checkID(id)); err != nil {
		return nil, err
	}
	proof, err := c.proof(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.registration(id, proof), nil
}

// commonName is the registration ID of an X.509 device.
func commonName(cert tls.Certificate) (string, error) {
	leaf := cert.Leaf
	if leaf == nil {
		if len(cert.Certificate) == 0 {
			return "", fault.As(fault.Permanent, errors.New("there is no certificate"))
		}
		var err error
		if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return "", fault.As(fault.Permanent, err)
		}
	}
	return leaf.Subject.CommonName, nil
}
