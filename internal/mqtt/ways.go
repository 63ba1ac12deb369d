package mqtt

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// again is when port 8883 is tried once more where only the WebSocket has worked: firewalls change.
const again = 24 * time.Hour

// Ways finds the way to a server that may be behind a firewall: MQTT on port 8883, and MQTT in a WebSocket on port 443
// where there is no TCP, or no end to the TLS handshake, on 8883. What worked is tried first the next time; 8883 is
// tried again after a day, or when the WebSocket fails. What the server says about us, a certificate refused or a CONNACK,
// is the same on both ways and is no reason to take the other; nor is a certificate of the server that does not verify,
// nor a name that does not resolve. The zero value is ready for use, by one caller at a time or by many.
type Ways struct {
	// WebSocket is the host:port to dial for the WebSocket; "" = that of Options.Address, or the Host, with port 443.
	WebSocket string
	mu        sync.Mutex
	socket    bool      // the WebSocket is tried first
	shut      time.Time // when 8883 was last found to be
}

// Dial is Dial by the way that works. Each of the two has half of Options.ConnectTimeout.
func (w *Ways) Dial(ctx context.Context, o Options) (*Conn, error) {
	p, err := w.Prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	return p.Connect(ctx)
}

// Prepare is Prepare by the way that works; Options.WebSocket does not matter.
func (w *Ways) Prepare(ctx context.Context, o Options) (*Prepared, error) {
	first, second := w.order(o)
	p, err := Prepare(ctx, first)
	if w.learn(first, err); ctx.Err() != nil || !blocked(err) {
		return p, err
	}
	p, also := Prepare(ctx, second)
	if w.learn(second, also); ctx.Err() != nil || !blocked(also) {
		return p, also
	}
	return nil, both(err, also)
}

// both is the error of two ways: who heals one heals all, and time is asked first.
func both(err, also error) error {
	kind, hint := fault.Of(err), cmp.Or(fault.Hint(err), fault.Hint(also))
	if fault.Of(also) == fault.Transient {
		kind = fault.Transient
	}
	err = fmt.Errorf("%w; %w", err, also)
	if hint != "" {
		err = fault.AskOperator(err, hint)
	}
	return fault.As(kind, err)
}

// order is how to try now, and what then.
func (w *Ways) order(o Options) (first, second Options) {
	w.mu.Lock()
	defer w.mu.Unlock()
	bare, socket := o, o
	bare.WebSocket, socket.WebSocket = false, true
	socket.Address = w.WebSocket
	if host, _, err := net.SplitHostPort(o.Address); err == nil && w.WebSocket == "" {
		socket.Address = net.JoinHostPort(host, socket.port())
	}
	bare, socket = bare.filled(), socket.filled()
	bare.ConnectTimeout /= 2
	socket.ConnectTimeout /= 2
	if w.socket && time.Since(w.shut) < again {
		return socket, bare
	}
	return bare, socket
}

// learn remembers what came of a way.
func (w *Ways) learn(o Options, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.socket = o.WebSocket
	} else if !o.WebSocket && blocked(err) {
		w.shut = time.Now()
	}
}

// blockedError is one of the way to the server, not of the server.
type blockedError struct{ error }

func (b *blockedError) Unwrap() error { return b.error }

func blocked(err error) bool {
	_, ok := errors.AsType[*blockedError](err)
	return ok
}

// unreachable is err, marked where it says that the way to the server is blocked.
func unreachable(err error) error {
	if _, unnamed := errors.AsType[*net.DNSError](err); unnamed {
		return err
	}
	return &blockedError{err}
}

// cut is err, marked where it says that the connection ended, or hung, or that something answered that is no TLS.
func cut(err error) error {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return &blockedError{err}
		}
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return &blockedError{err}
	}
	return err
}
