package mqtt

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

// open dials and completes TLS, and the WebSocket in it where one is wanted.
func (o Options) open(ctx context.Context) (*Prepared, error) {
	dial := o.Dial
	if dial == nil {
		// TCP's own keep-alive would wake a radio every 15 s; MQTT's pings do its work.
		dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	raw, err := dial(ctx, "tcp", o.Address)
	if err != nil {
		return nil, unreachable(err)
	}
	p := &Prepared{options: o, raw: raw, tickets: &tickets{ClientSessionCache: o.Sessions}}
	if err := p.secure(ctx); err != nil {
		raw.Close()
		p.tickets.distrust(ctx)
		return nil, err
	}
	return p, nil
}

// secure makes TLS of the raw connection, and a WebSocket of that where one is wanted.
func (p *Prepared) secure(ctx context.Context) error {
	userTimeout(p.raw, p.options.Unanswered)
	signer := &witness{key: p.options.Certificate.PrivateKey}
	secure := tls.Client(p.raw, p.options.config(signer, p.tickets))
	p.link = &paced{Conn: secure}
	p.stream = p.link
	if err := secure.HandshakeContext(ctx); err != nil {
		if signer.err != nil {
			return fault.As(fault.Of(signer.err), fmt.Errorf("sign the TLS handshake: %w", signer.err))
		}
		p.distrust(err)
		return cut(refusal(0, err))
	}
	if !p.options.WebSocket {
		return nil
	}
	return p.socket(ctx)
}

// socket makes a WebSocket of the TLS connection.
func (p *Prepared) socket(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.raw.Close() })
	socket, err := p.options.upgrade(p.link)
	if stop() && err == nil {
		p.stream = socket
		return nil
	}
	err = refusal(0, errors.Join(err, ctx.Err()))
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return err
	}
	return &blockedError{err}
}

// distrust tells a dialer that can try another address that it was not the server who answered at this one.
func (p *Prepared) distrust(err error) {
	_, foreign := mtls.Distrust(err, time.Now(), mtls.Settings{})
	if dialed, ok := p.raw.(interface{ Distrust() }); ok && foreign {
		dialed.Distrust()
	}
}

// config is TLS as the hub wants it. The certificate is presented whatever list of authorities the server sends:
// crypto/tls would silently present none when the list does not name ours.
func (o Options) config(signer *witness, sessions *tickets) *tls.Config {
	config := &tls.Config{ServerName: o.Host, RootCAs: o.Roots, MinVersion: tls.VersionTLS12}
	config.DynamicRecordSizingDisabled = true // what waits together leaves in one record and one system call, also at first
	if sessions.ClientSessionCache != nil {
		config.ClientSessionCache = sessions
	}
	mine := o.Certificate
	if len(mine.Certificate) == 0 {
		return config
	}
	if key, ok := o.Certificate.PrivateKey.(crypto.Signer); ok {
		signer.Signer = key
		mine.PrivateKey = signer
	}
	config.MaxVersion = mtls.Newest(mine)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &mine, nil }
	return config
}

// witness remembers why the hardware did not sign: crypto/tls passes on the text of that error only, and the label
// that says who can help would be lost.
type witness struct {
	crypto.Signer
	key crypto.PrivateKey
	err error
}

func (w *witness) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := w.Signer.Sign(rand, digest, opts)
	w.err = err
	return signature, err
}
