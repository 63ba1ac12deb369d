package dps

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/sas"
)

// proof is how a device shows who it is, in one registration.
type proof interface {
	// certificate is what TLS presents; zero = nothing.
	certificate() tls.Certificate
	// token is a SAS token that is good for some minutes at least; "" = none.
	token(ctx context.Context) (string, error)
	// settle keeps what the service gives together with the place at a hub.
	settle(ctx context.Context, s state) error
	// remedy is what a person does when the service does not accept the proof.
	remedy() string
}

// proof is the one that is configured.
func (c *Client) proof(ctx context.Context, id string) (proof, error) {
	switch {
	case c.config.Bootstrap != nil:
		return c.byBootstrap(ctx, id)
	case c.config.TPM != nil:
		return c.byTPM(ctx, id)
	}
	key, err := c.config.SharedKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("shared key: %w", err)
	}
	if len(key) == 0 {
		return nil, fault.AskOperator(errors.New("shared key: it is empty"), "put the key of the enrollment where "+c.config.KeySource+" names it")
	}
	return &bySharedKey{ticket: ticket{resource: c.resource(id), name: keyName, mac: sas.SharedKey(key)}, id: id, source: c.config.KeySource}, nil
}

func (c *Client) resource(id string) string { return c.config.IDScope + "/registrations/" + id }

// byBootstrap is the bootstrap certificate, which must be that of the registration.
func (c *Client) byBootstrap(ctx context.Context, id string) (proof, error) {
	cert, err := c.config.Bootstrap(ctx)
	if err != nil {
		return nil, fmt.Errorf("bootstrap certificate: %w", err)
	}
	name, err := commonName(cert)
	if err != nil {
		return nil, fmt.Errorf("bootstrap certificate: %w", err)
	}
	if !strings.EqualFold(name, id) {
		return nil, misnamed(name, id)
	}
	return &byCertificate{cert, name}, nil
}

func misnamed(name, id string) error {
	err := fmt.Errorf("the certificate is for %q, the registration ID is %q", name, id)
	return fault.AskOperator(err, "set device.id, or provisioning.dps.registration_id where the two differ, to the common name of the certificate, or install the right one")
}

type byCertificate struct {
	cert tls.Certificate
	name string
}

func (b *byCertificate) certificate() tls.Certificate          { return b.cert }
func (b *byCertificate) token(context.Context) (string, error) { return "", nil }
func (b *byCertificate) settle(context.Context, state) error   { return nil }

func (b *byCertificate) remedy() string {
	return fmt.Sprintf("check that the certificate of %s is in date, with all intermediates in its file, that the CA which signed it "+
		"is uploaded: verify the CA at the provisioning service, and see that the enrollment for it is enabled", b.name)
}

type bySharedKey struct {
	ticket
	id, source string
}

func (b *bySharedKey) certificate() tls.Certificate        { return tls.Certificate{} }
func (b *bySharedKey) settle(context.Context, state) error { return nil }

func (b *bySharedKey) remedy() string {
	return fmt.Sprintf("see that %s has the key of the enrollment for registration ID %s, that the enrollment is enabled, and that the clock (%s) is right",
		b.source, b.id, time.Now().UTC().Format(time.RFC3339))
}

// keyName is what the service calls the key of a registration ("Symmetric key attestation").
const keyName = "registration"

// How long a token lives, as in Microsoft's SDKs, and how much of that must be left when it is shown.
const (
	life = time.Hour
	left = 10 * time.Minute
)

// ticket is a SAS token that is made again before it is too old.
type ticket struct {
	resource, name string
	mac            sas.MAC
	text           string
	until          time.Time
}

func (t *ticket) token(ctx context.Context) (string, error) {
	if time.Until(t.until) > left {
		return t.text, nil
	}
	until := time.Now().Add(life)
	text, err := sas.Token(ctx, t.resource, t.name, until, t.mac)
	if err != nil {
		return "", err
	}
	t.text, t.until = text, until
	return text, nil
}
