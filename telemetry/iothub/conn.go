package iothub

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/telemetry"
)

// Conn is one session with a hub. It is a telemetry.Conn and a Certifier; both go on side by side.
type Conn struct {
	config     Config
	device     string
	address    string // what its topics begin with
	session    *mqtt.Conn
	until      time.Time // its token is good until then; zero where a certificate lasts
	out        packer
	box        *mailbox
	down       *downlink
	subscribed chan bool // to the credential answers; whoever holds the value may change it
}

// Limits hold for the whole session.
func (c *Conn) Limits() telemetry.Limits {
	return telemetry.Limits{Window: c.config.Window, Stall: c.config.Stall, Until: c.until}
}

// Done is closed when the session has ended, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.session.Done() }

// Err says why the session ended, and is nil before. It wraps telemetry.ErrHungUp where the hub closed the connection.
func (c *Conn) Err() error {
	err := c.session.Err()
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return fmt.Errorf("%w: %w", telemetry.ErrHungUp, err)
		}
	}
	return err
}

// Close ends the session. It may be called more than once.
func (c *Conn) Close() error { return c.session.Close() }

// receive takes what the hub sends, from the first message on.
func (c *Conn) receive(topic string, payload []byte, ack func()) {
	if c.remote(topic, payload, ack) {
		return
	}
	c.down.turns.take(ack)()
	if a, ok := parseAnswer(topic, payload); ok {
		c.box.put(a)
	}
}
