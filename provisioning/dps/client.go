// Package dps enrolls at Azure's Device Provisioning Service over MQTT 3.1.1: with a certificate request, whose
// certificate comes back with the assignment, or with a certificate that the device has already.
//
// Names and rules are those of "Communicate with DPS using the MQTT protocol" (Microsoft Learn) and of the service's
// published API, 2025-07-01-preview.
package dps

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/provisioning"
)

// Config is where to enroll. IDScope is needed, and Bootstrap for Enroll.
type Config struct {
	Endpoint   string         // default global.azure-devices-provisioning.net
	Connect    string         // host:port to dial; "" = Endpoint, port 8883. TLS keeps the name Endpoint
	IDScope    string         // of the service instance, 0ne…
	APIVersion string         // default 2025-07-01-preview, the first with certificate requests
	Roots      *x509.CertPool // nil = the system's
	// Bootstrap returns the certificate that an Enroll authenticates with.
	Bootstrap func(ctx context.Context) (tls.Certificate, error)
	// Request makes the certificate request (DER) for a key; nil = provisioning.SigningRequest.
	Request   func(ctx context.Context, commonName string, key crypto.Signer) ([]byte, error)
	Payload   json.RawMessage // a JSON object for custom allocation; nil = none
	UserAgent string          // told to the service as ClientVersion
	Deadline  time.Duration   // for one enrollment; default 5 min
	Log       *slog.Logger    // nil = silent
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
		c.Endpoint = "global.azure-devices-provisioning.net"
	}
	if c.APIVersion == "" {
		c.APIVersion = "2025-07-01-preview"
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

// Enroll registers the device with the bootstrap certificate and a certificate request for r.Key. The chain of the
// grant is the one that the service has issued for it.
func (c *Client) Enroll(ctx context.Context, r provisioning.Request) (identity.Grant, error) {
	bootstrap, err := c.config.Bootstrap(ctx)
	if err != nil {
		return identity.Grant{}, fmt.Errorf("dps: bootstrap certificate: %w", err)
	}
	name, err := commonName(bootstrap)
	if err != nil {
		return identity.Grant{}, fmt.Errorf("dps: bootstrap certificate: %w", err)
	}
	if !strings.EqualFold(name, r.DeviceID) {
		err := fmt.Errorf("dps: the bootstrap certificate is for %q, the device is %q", name, r.DeviceID)
		return identity.Grant{}, fault.AskOperator(err, "set device.id to the common name of the bootstrap certificate, or install the right one")
	}
	csr, err := c.config.Request(ctx, r.DeviceID, r.Key)
	if err != nil {
		return identity.Grant{}, fmt.Errorf("dps: %w", err)
	}
	state, err := c.register(ctx, r.DeviceID, bootstrap, csr)
	if err != nil {
		return identity.Grant{}, fmt.Errorf("dps: enroll %s: %w", r.DeviceID, err)
	}
	chain, err := state.chain()
	if err != nil {
		return identity.Grant{}, fmt.Errorf("dps: enroll %s: %w", r.DeviceID, err)
	}
	return identity.Grant{Assignment: state.assignment(), Chain: chain}, nil
}

// Assign registers the device that cert belongs to, with cert.
func (c *Client) Assign(ctx context.Context, cert tls.Certificate) (identity.Assignment, error) {
	name, err := commonName(cert)
	if err != nil {
		return identity.Assignment{}, fmt.Errorf("dps: %w", err)
	}
	state, err := c.register(ctx, name, cert, nil)
	if err != nil {
		return identity.Assignment{}, fmt.Errorf("dps: register %s: %w", name, err)
	}
	return state.assignment(), nil
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

// username has no '?' before api-version; that of the hub has one.
func (c *Client) username(id string) string {
	name := c.config.IDScope + "/registrations/" + id + "/api-version=" + c.config.APIVersion
	if c.config.UserAgent != "" {
		name += "&ClientVersion=" + strings.ReplaceAll(url.QueryEscape(c.config.UserAgent), "+", "%20")
	}
	return name
}

func (c *Client) body(id string, csr []byte) ([]byte, error) {
	return json.Marshal(struct {
		RegistrationID string          `json:"registrationId"`
		CSR            string          `json:"csr,omitempty"`
		Payload        json.RawMessage `json:"payload,omitempty"`
	}{id, base64.StdEncoding.EncodeToString(csr), c.config.Payload})
}
