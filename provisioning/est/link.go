package est

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 60 * time.Second // for one request, without the time that the hardware needs to sign
	maxHeader     = 32 << 10
	maxRedirects  = 5
)

// link is HTTP over TLS to one server.
type link struct {
	client    *http.Client
	transport *http.Transport
	signer    *witness
}

func newLink(c Config, mine *tls.Certificate) *link {
	l := &link{signer: &witness{}}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	l.transport = &http.Transport{
		Proxy:                  c.Proxy,
		DialContext:            dialer(c.Dial),
		TLSClientConfig:        l.config(c, mine),
		Protocols:              &http1,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        1,
		IdleConnTimeout:        answerTimeout,
	}
	l.client = &http.Client{Transport: l.transport, CheckRedirect: stayHere}
	return l
}

func dialer(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no connection to %s within %v", address, dialTimeout))
		defer cancel()
		conn, err := dial(ctx, network, address)
		return conn, because(ctx, err)
	}
}

// because prefers the reason why ctx ended to the error that its end caused.
func because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// config presents mine whatever list of authorities the server sends: crypto/tls would silently present none when
// the list does not name ours.
func (l *link) config(c Config, mine *tls.Certificate) *tls.Config {
	config := &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}
	if mine == nil {
		return config
	}
	shown := *mine
	if key, ok := mine.PrivateKey.(crypto.Signer); ok {
		l.signer.Signer = key
		shown.PrivateKey = l.signer
	}
	if c.LeafOnly && len(shown.Certificate) > 1 {
		shown.Certificate = shown.Certificate[:1]
	}
	config.MaxVersion = mtls.Newest(shown)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
	return config
}

// stayHere follows a redirect only to where the credential was meant for, and only as the same request.
func stayHere(r *http.Request, via []*http.Request) error {
	from := via[0]
	switch {
	case r.URL.Scheme != from.URL.Scheme || r.URL.Host != from.URL.Host:
		return fault.AskOperator(fmt.Errorf("the server sends us to %s://%s", r.URL.Scheme, r.URL.Host),
			"if that is right, set provisioning.est.url to it: the agent does not take its credential to another host by itself")
	case r.Method != from.Method:
		return fault.As(fault.Permanent, fmt.Errorf("the server redirects a %s as a %s", from.Method, r.Method))
	case len(via) >= maxRedirects:
		return fault.As(fault.Permanent, fmt.Errorf("the server redirects %d times", len(via)))
	}
	return nil
}

// do sends r and returns the whole answer.
func (l *link) do(ctx context.Context, r *http.Request) (*answer, error) {
	ctx, watch := newStopwatch(ctx, answerTimeout)
	defer watch.end()
	l.signer.begin(watch)
	response, err := l.client.Do(r.WithContext(ctx))
	if err != nil {
		return nil, l.failed(ctx, err)
	}
	defer response.Body.Close()
	a, err := read(response)
	if err != nil {
		return nil, l.failed(ctx, err)
	}
	return a, nil
}

// failed is the innermost of what net/http wraps, and the hardware's own error where that is the cause.
func (l *link) failed(ctx context.Context, err error) error {
	if signing := l.signer.failure(); signing != nil {
		return fault.As(fault.Of(signing), fmt.Errorf("sign the TLS handshake: %w", signing))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the server hung up in the middle of its answer: %w", err)
	}
	return err
}
