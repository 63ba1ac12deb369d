package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

const maxRedirects = 5

// elsewhere is where the answer to r sends us, nil where it stays here.
func (a *Answer) elsewhere(r *http.Request) (*url.URL, error) {
	switch a.Status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	place := a.Header.Get("Location")
	if place == "" {
		return nil, nil
	}
	next, err := r.URL.Parse(place)
	if err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("the server sends us to no URL: %w", err))
	}
	return next, nil
}

// redirect says why not to go there: it follows only to where the credential was meant for, and only as the same request.
func (l *Link) redirect(next *url.URL, status int, r *http.Request, hops int) error {
	same := status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect || r.Method == http.MethodGet
	switch {
	case next.Scheme != r.URL.Scheme || next.Host != r.URL.Host:
		return fault.AskOperator(fmt.Errorf("the server sends us to %s://%s", next.Scheme, next.Host), fmt.Sprintf(
			"if that is right, set %s to it: the agent does not take its credential to another host by itself", l.config.Settings.Host))
	case l.config.NoRedirects:
		return fault.As(fault.Permanent, fmt.Errorf("the server sends us from %s to %s", r.URL.Path, next.Path))
	case !same:
		return fault.As(fault.Permanent, fmt.Errorf("the server redirects a %s as a GET", r.Method))
	case hops >= maxRedirects:
		return fault.As(fault.Permanent, fmt.Errorf("the server redirects %d times", hops))
	}
	return nil
}

// failed is err with who can help, and the hardware's own error where that is the cause.
func (l *Link) failed(ctx context.Context, err error) error {
	if signing := l.signer.failure(); signing != nil {
		return fault.As(fault.Of(signing), fmt.Errorf("sign the TLS handshake: %w", signing))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if labelled, ok := l.handshake(err); ok {
		return labelled
	}
	return broken(err)
}

// handshake says who can help where TLS did not come about.
func (l *Link) handshake(err error) (labelled error, ok bool) {
	if labelled, ok := mtls.Distrust(err, time.Now(), l.config.Settings); ok {
		return labelled, true
	}
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(plain.RecordHeader[:]) == "HTTP/" {
		return fault.AskOperator(fmt.Errorf("the server does not speak TLS: %w", err), "check host and port: "+l.config.Settings.Host), true
	}
	if alert, ok := mtls.Refused(err); ok {
		return fault.AskOperator(fmt.Errorf("certificate refused: %w (alert %d)", err, uint8(alert)), l.config.Identity), true
	}
	return nil, false
}

// broken says what went wrong with HTTP itself.
func broken(err error) error {
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the server hung up in the middle of its answer: %w", err)
	case errors.Is(err, errTooLong):
		return fault.As(fault.Permanent, fmt.Errorf("an answer with more than %d bytes of header: %w", maxHeader, err))
	}
	return err
}
