package sim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ESTHost is the name by which devices know the EST server (RFC 7030). It answers under /.well-known/est, with a
// label or without, and under /EST/{ca}/{template}/{region}/.well-known/est, as EZCA does.
const ESTHost = "est.sim.example"

// The points of the EST server. They name the device by the common name of its request, or of its certificate.
const (
	AtESTInfo   Point = "est-info"   // cacerts or csrattrs, not yet looked at
	AtESTEnroll Point = "est-enroll" // a request arrived, not yet looked at
	AtESTIssued Point = "est-issued" // the certificate is issued, the answer not yet sent
)

// ESTAddr is the host:port where the EST server listens, "" after New.
func (c *Cloud) ESTAddr() string { return c.addr(c.est) }

// serveEST is one connection of a device to the EST server.
func (c *Cloud) serveEST(l *link) {
	if !l.secure(c.estConfig(c.estCA)) {
		return
	}
	serveHTTP(l.tls, &estHandler{cloud: c, link: l, ca: c.estCA})
	c.log("est", Disconnected, l.name, "")
}

// secure begins TLS, and reports whether that went well.
func (l *link) secure(config *tls.Config) bool {
	l.raw.SetDeadline(time.Now().Add(greeting))
	l.tls = tls.Server(l.raw, config)
	if err := l.tls.Handshake(); err != nil {
		l.refused(fmt.Errorf("TLS handshake: %w", err))
		l.linger()
		return false
	}
	l.raw.SetDeadline(time.Time{})
	l.chain = l.tls.ConnectionState().PeerCertificates
	if len(l.chain) > 0 {
		l.name = l.chain[0].Subject.CommonName
	}
	l.cloud.log(l.service.name, Connected, l.name, l.describe())
	return true
}

// estConfig asks for a certificate, since cacerts is for everybody: who enrolls is judged by the handler.
func (c *Cloud) estConfig(a *estCA) *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	config := &tls.Config{
		Certificates:           []tls.Certificate{c.pki.server},
		CipherSuites:           suites,
		MinVersion:             tls.VersionTLS12,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
		Time:                   func() time.Time { return time.Now().Add(a.weather(c.weather()).ClockOffset) },
	}
	if c.temper.TLS12Only {
		config.MaxVersion = tls.VersionTLS12
	}
	if c.temper.RefuseInHandshake {
		config.ClientAuth = tls.VerifyClientCertIfGiven
		config.ClientCAs = x509.NewCertPool()
		for _, root := range a.trusted() {
			config.ClientCAs.AddCert(root)
		}
	}
	return config
}

// oneConn is a listener of one connection.
type oneConn struct {
	conn  net.Conn
	once  sync.Once
	end   sync.Once
	over  chan struct{}
	taken atomic.Bool // by a WebSocket
}

func (o *oneConn) Accept() (conn net.Conn, err error) {
	o.once.Do(func() { conn = o.conn })
	if conn != nil {
		return conn, nil
	}
	<-o.over
	return nil, net.ErrClosed
}

func (o *oneConn) Close() error {
	o.end.Do(func() { close(o.over) })
	return nil
}

func (o *oneConn) Addr() net.Addr { return o.conn.LocalAddr() }

// httpTrouble is what the temper has to say at p: nil, or a refusal to answer with. Where it ends the connection, the
// handler ends here.
func (c *Cloud) httpTrouble(ctx context.Context, l *link, p Point, device string) *Refusal {
	err := c.fault(p, device)
	if err == nil {
		return nil
	}
	c.log(l.service.name, Faulted, device, fmt.Sprintf("%s: %v", p, err))
	if no, ok := errors.AsType[*Refusal](err); ok {
		return no
	}
	if errors.Is(err, ErrSilent) {
		select {
		case <-ctx.Done():
		case <-l.gone:
		}
	}
	panic(http.ErrAbortHandler) // net/http's way to end a connection without an answer
}
