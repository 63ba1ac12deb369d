// Package est gets certificates by Enrollment over Secure Transport (RFC 7030, with the corrections of RFC 8951 and
// the reading of CSR attributes of RFC 9908).
//
// The server is trusted by TLS roots alone: the certificates that it serves under cacerts complete the device's own
// chain, and are never added to what TLS trusts.
package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/provisioning"
)

// The operations that enroll.
const (
	SimpleEnroll   = "simpleenroll"
	SimpleReenroll = "simplereenroll"
)

// Config is where to enroll, and as whom. URL is needed, and for the first certificate Bootstrap or Username.
type Config struct {
	// URL of the server. One without a path means RFC 7030's /.well-known/est; one with a path is taken as it is,
	// since not every service has it at the root (EZCA: …/EST/{CA}/{template}/{region}/.well-known/est).
	URL   string
	Label string     // of the CA behind the server, one path segment; "" = the server's own choice
	Roots mtls.Roots // that the server's TLS certificate must come from; nil = the system's
	// Anchors are the authorities that the device's certificate must come from, directly or over a cross-certificate
	// that one of them signed. Nil = whatever CA the server answers for.
	Anchors []*x509.Certificate
	// Bootstrap returns the certificate that the first enrollment authenticates with; nil = none.
	Bootstrap func(ctx context.Context) (tls.Certificate, error)
	Username  string                 // for HTTP Basic at the first enrollment; "" = none
	Password  func() (string, error) // belongs to Username
	// Reenroll is the operation that renews; default SimpleReenroll, and SimpleEnroll where the server has no other.
	Reenroll  string
	LeafOnly  bool          // present the device's certificate without its chain: some servers want exactly one
	WithRoot  bool          // let the chain end with its root, which TLS does not need
	UserAgent string        // told to the server
	Deadline  time.Duration // for one Issue, with the waits that the server asks for; default 5 min
	Log       *slog.Logger  // nil = silent
	// Dial opens the transport under TLS, through a proxy where there is one; nil = TCP. The environment is not asked.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client enrolls. It is a provisioning.Issuer.
type Client struct {
	config Config

	mu   sync.Mutex
	open *order
}

var _ provisioning.Issuer = (*Client)(nil)

// New returns a Client that enrolls as c says.
func New(c Config) *Client {
	if c.Reenroll == "" {
		c.Reenroll = SimpleReenroll
	}
	if c.Deadline <= 0 {
		c.Deadline = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{config: c}
}

// Issue returns a chain for r.Key, leaf first: a successor of the certificate in force, which also authenticates,
// or where there is none what First returns.
//
// While the server has not said yes or no, the same request goes out again, in this call and in the next one for the
// same key: so a server that asked to wait knows it again.
func (c *Client) Issue(ctx context.Context, r provisioning.Request) ([]*x509.Certificate, error) {
	if r.Current == nil || !r.Current.Certified() {
		return c.first(ctx, r)
	}
	return c.issue(ctx, renewalOf(r, c.config.Reenroll))
}

// First issues as for a device that has no certificate yet, whatever it has: with the bootstrap credential, for the
// common name r.DeviceID. It is the way back of a device whose certificate is expired or refused.
func (c *Client) First() provisioning.Issuer { return provisioning.IssuerFunc(c.first) }

func (c *Client) first(ctx context.Context, r provisioning.Request) ([]*x509.Certificate, error) {
	return c.issue(ctx, firstOf(r))
}

func (c *Client) issue(ctx context.Context, t task) ([]*x509.Certificate, error) {
	late := fmt.Errorf("no certificate within %v", c.config.Deadline)
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Deadline, late)
	defer cancel()
	chain, err := c.converse(ctx, t)
	c.settle(err)
	if err != nil {
		return nil, fmt.Errorf("est: %s %s: %w", t.op, t.name, err)
	}
	return chain, nil
}

// converse asks for the authorities first: a certificate whose chain could not be built would be spent for nothing.
func (c *Client) converse(ctx context.Context, t task) ([]*x509.Certificate, error) {
	s, err := c.newSession(ctx, t)
	if err != nil {
		return nil, err
	}
	defer s.close()
	authorities, err := s.authorities(ctx)
	if err != nil {
		return nil, err
	}
	wishes, err := s.wishes(ctx)
	if err != nil {
		return nil, err
	}
	csr, err := c.request(t, wishes)
	if err != nil {
		return nil, err
	}
	issued, err := s.enroll(ctx, csr)
	if err != nil {
		return nil, wishes.explain(err, t.request.Key.Public())
	}
	return t.chain(issued, authorities, c.config)
}
