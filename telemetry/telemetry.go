// Package telemetry samples the device's own sensors into the spool, and pumps the spool to the hub.
package telemetry

import (
	"context"
	"errors"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// ErrRefused is in the error of a Dial whose identity the hub does not accept: unknown, disabled, or a
// certificate that is not, or no longer, good there.
var ErrRefused = errors.New("the hub refused the identity")

// Conn is one authenticated session with the hub, for one identity.
type Conn interface {
	// Send publishes the batch in order. The first n records are acknowledged by the hub in this session, also
	// when err is not nil; the rest may or may not have arrived.
	Send(ctx context.Context, batch []spool.Record) (n int, err error)
	// Done is closed when the session has ended, whoever ended it.
	Done() <-chan struct{}
	// Close ends the session and releases what it holds. It may be called more than once.
	Close() error
}

// Dial opens a session as id. It returns once the hub has accepted the identity (a CONNACK, not only a TLS
// handshake). A refusal of the identity wraps ErrRefused.
type Dial func(ctx context.Context, id *identity.Identity) (Conn, error)
