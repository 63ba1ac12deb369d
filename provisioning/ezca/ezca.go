// Package ezca gets certificates from Keytos EZCA over its REST interface: the first one for a token that was handed
// over for one use, each further one for a token that the key of the certificate before it signs.
//
// Keytos publishes clients and no description of the wire. What is said here is what those clients do: EZCAClient for .NET
// and ezca-go. What they leave open stays a setting, or is documented where it is used.
package ezca

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/provisioning"
)

// The versions of the renewal, newest first. V3 answers with the chain, V2 and V1 with the certificate alone.
const (
	V3 = "v3"
	V2 = "v2"
	V1 = "v1"
)

const (
	defaultAudience = "https://ezca.io" // of the tokens for every region and host
	defaultValidity = 90                // days
)

// Config is where to get certificates. URL is needed, and for the first one CA, Template and TokenFile.
type Config struct {
	URL          string // of the service: https://portal.ezca.io, or that of a region. A path is refused
	CA, Template string // GUIDs, for the first certificate
	// API is the newest version of the renewal to ask for; default V3, which falls back to V2 where the service answers 404.
	API string
	// TokenFile holds a bearer token for one first certificate. It is read when it is needed, and removed once a certificate
	// came of it.
	TokenFile string
	// Issuers are authorities above the device's certificate, for services that answer with it alone (V2, V1). Those above
	// the certificate in force are known without.
	Issuers []*x509.Certificate
	// Validity in days; default that of the certificate in force, and 90 for the first. What the service does with more days
	// than its template has (refuse, or fewer days) is not documented.
	Validity int
	// TokenLife is how long a renewal's token is valid, 2 to 30 minutes; default 5. Keytos' own clients take 30, and that the
	// service takes less is not documented: but a token is as good as the key for whoever sees it.
	TokenLife time.Duration
	Audience  string        // of a renewal's token; default https://ezca.io
	Location  string        // told to EZCA's administrators; default "IoT Device"
	Roots     mtls.Roots    // that the server's TLS certificate must come from; nil = the system's
	UserAgent string        // told to the server
	Deadline  time.Duration // for one Issue; default 2 min
	Log       *slog.Logger  // nil = silent
	// Dial opens the transport under TLS, through a proxy where there is one; nil = TCP. The environment is not asked.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client gets certificates. It is a provisioning.Issuer.
type Client struct {
	config Config

	mu   sync.Mutex
	last *harvest
}

var _ provisioning.Issuer = (*Client)(nil)

// New returns a Client that does as c says.
func New(c Config) *Client {
	if c.API == "" {
		c.API = V3
	}
	if c.TokenLife <= 0 {
		c.TokenLife = 5 * time.Minute
	}
	if c.Audience == "" {
		c.Audience = defaultAudience
	}
	if c.Location == "" {
		c.Location = "IoT Device"
	}
	if c.Deadline <= 0 {
		c.Deadline = 2 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{config: c}
}

// Issue returns a chain for r.Key, leaf first: a successor of the certificate in force, whose key says so, or where
// there is none what First returns.
func (c *Client) Issue(ctx context.Context, r provisioning.Request) ([]*x509.Certificate, error) {
	if r.Current == nil || !r.Current.Certified() {
		return c.first(ctx, r)
	}
	return c.issue(ctx, renewalOf(r), (*session).renew)
}

// First issues as for a device that has no certificate yet, whatever it has: for the token in the file, and the name
// r.DeviceID. It is the way back of a device whose certificate is expired or refused. Asked again for the same key,
// without a new token, it returns what came of the last one.
func (c *Client) First() provisioning.Issuer { return provisioning.IssuerFunc(c.first) }

func (c *Client) first(ctx context.Context, r provisioning.Request) ([]*x509.Certificate, error) {
	return c.issue(ctx, firstOf(r), (*session).first)
}

func (c *Client) issue(ctx context.Context, t task, ask func(*session, context.Context) ([]*x509.Certificate, error)) ([]*x509.Certificate, error) {
	late := fmt.Errorf("no certificate within %v", c.config.Deadline)
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Deadline, late)
	defer cancel()
	chain, err := c.converse(ctx, t, ask)
	if err != nil {
		return nil, fmt.Errorf("ezca: %s %s: %w", t.verb, t.name, err)
	}
	return chain, nil
}

func (c *Client) converse(ctx context.Context, t task, ask func(*session, context.Context) ([]*x509.Certificate, error)) ([]*x509.Certificate, error) {
	s, err := c.newSession(t)
	if err != nil {
		return nil, err
	}
	defer s.link.Close()
	return ask(s, ctx)
}
