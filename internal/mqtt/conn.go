// Package mqtt is one MQTT 3.1.1 connection over paho: TLS with an identity, bare or in a WebSocket, publish until
// acknowledged, granted QoS checked.
//
// A Conn is one session. It never reconnects and keeps nothing for a next one: what was not acknowledged when it
// ends was not acknowledged, and the caller's own queue is the only truth.
package mqtt

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Errors that end a session, and every Flight in it.
var (
	ErrLost   = errors.New("mqtt session lost")
	ErrClosed = errors.New("mqtt session closed")
)

// quiesce is how long Close waits for the DISCONNECT to be written.
const quiesce = time.Second

// settle is how long a session that is dead on the wire may take to account for what it had read before.
const settle = 5 * time.Second

// handover is how long paho's Publish may look for the goroutine that writes. That one never blocks here, so that it
// is found at once, unless the session has ended in this moment.
const handover = time.Second

// Conn is one session with a server that has accepted the identity. Its methods may be called side by side.
type Conn struct {
	client  paho.Client
	wire    *wire
	queue   chan *Flight
	serial  chan struct{} // one SUBSCRIBE at a time
	lost    chan struct{} // paho has seen the end and let go of everything
	closing chan struct{}
	close   sync.Once
	done    chan struct{}
	err     error // set before done is closed
	working sync.WaitGroup
}

// paho is our way to use that library: one session and no memory of others.
func (o Options) paho(c *Conn) *paho.ClientOptions {
	p := paho.NewClientOptions()
	p.AddBroker("tcp://" + o.Address) // not dialed: the connection exists already
	p.SetCustomOpenConnectionFn(func(_ *url.URL, _ paho.ClientOptions) (net.Conn, error) { return c.wire, nil })
	p.SetProtocolVersion(4) // without it a refusal is followed by a second try in MQTT 3.1
	p.SetClientID(o.ClientID)
	p.SetUsername(o.Username)
	p.SetPassword(o.Password)
	p.SetCleanSession(!o.Persistent)
	p.SetAutoReconnect(false)
	p.SetConnectRetry(false)
	p.SetResumeSubs(false)
	p.SetStore(nowhere{})
	p.SetOrderMatters(true)
	p.SetKeepAlive(0) // the wire has a pulse of its own
	p.SetConnectTimeout(o.ConnectTimeout)
	p.SetWriteTimeout(handover)
	p.SetAutoAckDisabled(true)
	p.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { o.Receive(m.Topic(), m.Payload(), m.Ack) })
	p.SetConnectionLostHandler(func(paho.Client, error) { close(c.lost) })
	return p
}

// nowhere keeps nothing: what is not acknowledged in this session is the caller's to send again.
type nowhere struct{}

func (nowhere) Open()                             {}
func (nowhere) Close()                            {}
func (nowhere) Reset()                            {}
func (nowhere) Put(string, packets.ControlPacket) {}
func (nowhere) Del(string)                        {}
func (nowhere) Get(string) packets.ControlPacket  { return nil }
func (nowhere) All() []string                     { return nil }

// Done is closed when the session has ended, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the session ended, and is nil before.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Close ends the session with a DISCONNECT, or without one where the server takes none. It may be called more than
// once, but not by Receive.
func (c *Conn) Close() error {
	c.close.Do(func() { close(c.closing) })
	c.working.Wait()
	return nil
}

// attend sees the session to its end.
func (c *Conn) attend() {
	c.err = ErrClosed
	select {
	case <-c.lost:
		c.err = fmt.Errorf("%w: %w", ErrLost, c.wire.why())
	case <-c.wire.dead:
		// Acknowledgements that were read before the end still count: paho is given the time to note them.
		c.err = fmt.Errorf("%w: %w", ErrLost, c.wire.why())
		if !within(settle, c.lost) {
			c.client.Disconnect(0) // a session that ends while it begins is lost without paho's seeing it
		}
	case <-c.closing:
		c.client.Disconnect(uint(quiesce.Milliseconds()))
	}
	c.wire.stopPulse()
	c.wire.Close()
	close(c.done)
}

// within reports whether done was closed before d had passed.
func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
