package mqtt

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

// open dials and completes TLS, and the WebSocket in it where one is wanted.
func (o Options) open(ctx context.Context) (*wire, error) {
	dial := o.Dial
	if dial == nil {
		// TCP's own keep-alive would wake a radio every 15 s; MQTT's pings do its work.
		dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	raw, err := dial(ctx, "tcp", o.Address)
	if err != nil {
		return nil, err
	}
	signer := &witness{key: o.Certificate.PrivateKey}
	secure := tls.Client(raw, o.config(signer))
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		if signer.err != nil {
			return nil, fault.As(fault.Of(signer.err), fmt.Errorf("sign the TLS handshake: %w", signer.err))
		}
		return nil, refusal(0, err)
	}
	if !o.WebSocket {
		return newWire(raw, secure), nil
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	socket, err := o.upgrade(ctx, secure)
	if !stop() || err != nil {
		raw.Close()
		return nil, refusal(0, errors.Join(err, ctx.Err()))
	}
	return newWire(raw, socket), nil
}

// config is TLS as the hub wants it. The certificate is presented whatever list of authorities the server sends:
// crypto/tls would silently present none when the list does not name ours.
func (o Options) config(signer *witness) *tls.Config {
	config := &tls.Config{ServerName: o.Host, RootCAs: o.Roots, MinVersion: tls.VersionTLS12}
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
