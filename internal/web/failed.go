package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

const maxRedirects = 5

// headerTooLong is how net/http says so, in an error without a type.
const headerTooLong = "server response headers exceeded"

// redirect follows only to where the credential was meant for, and only as the same request.
func (l *Link) redirect(r *http.Request, via []*http.Request) error {
	from := via[0]
	switch {
	case r.URL.Scheme != from.URL.Scheme || r.URL.Host != from.URL.Host:
		return fault.AskOperator(fmt.Errorf("the server sends us to %s://%s", r.URL.Scheme, r.URL.Host), fmt.Sprintf(
			"if that is right, set %s to it: the agent does not take its credential to another host by itself", l.config.Settings.Host))
	case l.config.NoRedirects:
		return fault.As(fault.Permanent, fmt.Errorf("the server sends us from %s to %s", from.URL.Path, r.URL.Path))
	case r.Method != from.Method:
		return fault.As(fault.Permanent, fmt.Errorf("the server redirects a %s as a %s", from.Method, r.Method))
	case len(via) >= maxRedirects:
		return fault.As(fault.Permanent, fmt.Errorf("the server redirects %d times", len(via)))
	}
	return nil
}

// failed is the innermost of what net/http wraps with who can help, and the hardware's own error where that is the
// cause.
func (l *Link) failed(ctx context.Context, err error) error {
	if signing := l.signer.failure(); signing != nil {
		return fault.As(fault.Of(signing), fmt.Errorf("sign the TLS handshake: %w", signing))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
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
	if errors.Is(err, http.ErrSchemeMismatch) {
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
	case strings.Contains(err.Error(), headerTooLong):
		return fault.As(fault.Permanent, fmt.Errorf("an answer with more than %d bytes of header: %w", maxHeader, err))
	}
	return err
}
