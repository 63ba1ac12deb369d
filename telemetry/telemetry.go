// Package telemetry samples the device's own sensors into the spool, and pumps the spool to the hub.
package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// ErrRefused is in the error of a Dial whose identity the hub does not accept: unknown, disabled, or a
// certificate that is not, or no longer, good there.
var ErrRefused = errors.New("the hub refused the identity")

// ErrHungUp is in the Err of a session that the hub has ended in an orderly way. That is how a hub makes room for
// another session of the same identity, and it gives no reason ("Communicate with an IoT hub using the MQTT protocol").
var ErrHungUp = errors.New("the hub hung up")

// Conn is one authenticated session with the hub, for one identity.
type Conn interface {
	// Send begins to publish the first n of records as one message, after all that were sent before, and returns without
	// waiting for the network. n is at least 1, and more only as far as the lane's Pack goes. With an error nothing was
	// sent: a Permanent one says that the first record can never be, any other that the session is over.
	Send(lane *Lane, records []spool.Record) (n int, f Flight, err error)
	// Limits hold for the whole session.
	Limits() Limits
	// Done is closed when the session has ended, whoever ended it.
	Done() <-chan struct{}
	// Err says why the session ended, and is nil before.
	Err() error
	// Close ends the session and releases what it holds. It may be called more than once.
	Close() error
}

// Flight is a message on its way. A *mqtt.Flight is one.
type Flight interface {
	// Landed reports whether the hub has acknowledged the message in this session. One that is not acknowledged when the
	// session ends may or may not have arrived.
	Landed() bool
	// Wake is closed when it makes sense to ask Landed again, and then to ask for another Wake.
	Wake() <-chan struct{}
}

// Limits are what a session bears.
type Limits struct {
	Window int           // messages in flight; 0 is 16
	Stall  time.Duration // a session without an acknowledgement for so long is over; 0 is 30 s
	Until  time.Time     // the session should end in an orderly way by then; zero = it lasts
}

// Dial opens a session as id. It returns once the hub has accepted the identity (a CONNACK, not only a TLS
// handshake). A refusal of the identity wraps ErrRefused.
type Dial func(ctx context.Context, id *identity.Identity) (Conn, error)

// Prepare does all of a Dial that can be done while another session of the device still sends.
type Prepare func(ctx context.Context, id *identity.Identity) (Prepared, error)

// Prepared is a session that has not begun.
type Prepared interface {
	// Connect begins it, and returns once the hub has accepted the identity. The Prepared is over then.
	Connect(ctx context.Context) (Conn, error)
	// Close gives it up.
	Close() error
}
