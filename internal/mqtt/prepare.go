package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Dial opens a session. It returns once the server has accepted it (a CONNACK, not only a TLS handshake). A server
// that turns us away answers with a *RefusedError.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	o = o.filled()
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	p, err := Prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	return p.Connect(ctx)
}

// Prepared is a connection that is all there but for CONNECT: a server that allows one session ends the one before
// only then. Servers do not wait for long, IoT Hub's patience is not documented: it is for seconds.
type Prepared struct {
	options Options
	raw     net.Conn // under TLS
	link    *paced   // TLS
	stream  net.Conn // what MQTT goes through
	tickets *tickets
	used    atomic.Bool
}

// Prepare opens the transport, TLS and the WebSocket where one is wanted, and sends no CONNECT yet. What is returned
// holds a socket until its Connect or Close.
func Prepare(ctx context.Context, o Options) (*Prepared, error) {
	o = o.filled()
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	p, err := o.open(ctx)
	if err != nil {
		return nil, o.failed(ctx, err)
	}
	return p, nil
}

// Connect sends the CONNECT and returns once the server has accepted it. It may be called once; the Prepared is over
// then, whatever comes back.
func (p *Prepared) Connect(ctx context.Context) (*Conn, error) {
	if p.used.Swap(true) {
		return nil, errors.New("mqtt: a prepared connection is good for one session")
	}
	ctx, cancel := p.options.bounded(ctx)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		p.tickets.distrust(ctx)
		return nil, p.options.failed(ctx, err)
	}
	return c, nil
}

// Close gives up a connection that is not to become a session. After Connect it does nothing.
func (p *Prepared) Close() error {
	if p.used.Swap(true) {
		return nil
	}
	return p.raw.Close()
}

func (o Options) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, o.ConnectTimeout, fmt.Errorf("no connection within %v", o.ConnectTimeout))
}

func (o Options) failed(ctx context.Context, err error) error {
	what := label(fmt.Errorf("mqtt: connect %s: %w", o.Address, because(ctx, err)))
	if blocked(err) {
		return &blockedError{what}
	}
	return what
}

func (p *Prepared) connect(ctx context.Context) (*Conn, error) {
	w := newWire(p.raw, p.link, p.stream)
	c := &Conn{
		wire:    w,
		queue:   make(chan *Flight, p.options.Ahead),
		serial:  make(chan struct{}, 1),
		lost:    make(chan struct{}),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	w.startPulse(p.options.KeepAlive, p.options.Rhythm)
	c.client = paho.NewClient(p.options.paho(c))
	stop := context.AfterFunc(ctx, func() { w.Close() })
	token := c.client.Connect().(*paho.ConnectToken)
	<-token.Done()
	if !stop() && token.Error() == nil {
		c.client.Disconnect(0)
		return nil, ctx.Err()
	}
	if err := token.Error(); err != nil {
		defer w.Close()
		return nil, refusal(token.ReturnCode(), err)
	}
	c.working.Go(c.deliver)
	c.working.Go(c.attend)
	return c, nil
}
