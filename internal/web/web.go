// Package web speaks HTTPS to one server: trust is explicit, no credential is carried elsewhere, answers are of bounded
// size, and what goes wrong has words that name its cause.
package web

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = time.Minute
	maxHeader   = 32 << 10
)

// Config is whom to trust, and as whom to appear. The zero Config trusts the system's roots and has no certificate.
type Config struct {
	Roots       *x509.CertPool   // that the server's certificate must come from; nil = the system's
	Certificate *tls.Certificate // that the client presents; nil = none
	LeafOnly    bool             // present it without its chain: some servers want exactly one
	Settings    mtls.Settings    // what a person has set, for hints
	Identity    string           // hint for a person when the server refuses our certificate
	UserAgent   string           // for requests that have none; "" tells the server nothing
	Timeout     time.Duration    // for one request with its answer, without the time that the hardware signs; default 60 s
	MaxAnswer   int64            // bytes of an answer's body; default 1 MiB
	NoRedirects bool             // follow none, not even one to the same place
	// Dial opens the transport under TLS; nil = TCP. The environment is not asked for a proxy.
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Connect string // host:port to dial in place of the URL's; TLS and HTTP keep the URL's name
}

// Link is HTTP over TLS to one server, one request at a time.
type Link struct {
	config Config
	signer *witness
	open   *connection // nil before the first request, and when it has ended
}

// New returns a Link that connects with its first request.
func New(c Config) *Link {
	if c.Timeout <= 0 {
		c.Timeout = time.Minute
	}
	if c.MaxAnswer <= 0 {
		c.MaxAnswer = 1 << 20
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	return &Link{config: c, signer: &witness{}}
}

// Close hangs up. A later Do connects anew.
func (l *Link) Close() {
	if l.open != nil {
		l.open.conn.Close()
		l.open = nil
	}
}

// Do sends r and returns the whole answer, whatever its status is. The error says what is wrong on the way to the
// server, and who can help.
func (l *Link) Do(ctx context.Context, r *http.Request) (*Answer, error) {
	ctx, watch := newStopwatch(ctx, l.config.Timeout)
	defer watch.end()
	l.signer.begin(watch)
	r = r.Clone(ctx)
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", l.config.UserAgent)
	}
	a, err := l.follow(ctx, r)
	if err != nil {
		return nil, l.failed(ctx, err)
	}
	return a, nil
}

// follow sends r, and goes where the server sends it.
func (l *Link) follow(ctx context.Context, r *http.Request) (*Answer, error) {
	for hops := 1; ; hops++ {
		a, err := l.exchange(ctx, r)
		if err != nil {
			return nil, err
		}
		next, err := a.elsewhere(r)
		if next == nil || err != nil {
			return a, err
		}
		if err := l.redirect(next, a.Status, r, hops); err != nil {
			return nil, err
		}
		if r, err = repeat(r, next); err != nil {
			return nil, err
		}
	}
}

func (l *Link) read(r *http.Response) (*Answer, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, l.config.MaxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(body)) > l.config.MaxAnswer {
		return nil, fault.As(fault.Permanent, fmt.Errorf("an answer of more than %d bytes", l.config.MaxAnswer))
	}
	return &Answer{Status: r.StatusCode, Header: r.Header, Body: body, setting: l.config.Settings.Host}, nil
}

func (l *Link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if l.config.Connect != "" {
		address = l.config.Connect
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no connection to %s within %v", address, dialTimeout))
	defer cancel()
	conn, err := l.config.Dial(ctx, network, address)
	return conn, because(ctx, err)
}

// because prefers the reason why ctx ended to the error that its end caused.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// tls presents our certificate whatever list of authorities the server sends: crypto/tls would silently present none
// when the list does not name ours.
func (l *Link) tls() *tls.Config {
	config := &tls.Config{RootCAs: l.config.Roots, MinVersion: tls.VersionTLS12}
	if l.config.Certificate == nil {
		return config
	}
	shown := *l.config.Certificate
	if key, ok := shown.PrivateKey.(crypto.Signer); ok {
		l.signer.Signer = key
		shown.PrivateKey = l.signer
	}
	if l.config.LeafOnly && len(shown.Certificate) > 1 {
		shown.Certificate = shown.Certificate[:1]
	}
	config.MaxVersion = mtls.Newest(shown)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
	return config
}
