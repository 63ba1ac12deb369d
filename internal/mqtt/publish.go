package mqtt

import (
	"context"
	"fmt"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/devid-agent/devid-agent/fault"
)

// Flight is one message on its way.
type Flight struct {
	conn    *Conn
	topic   string
	payload []byte
	token   paho.Token // set before started is closed
	started chan struct{}
}

// Publish starts to send payload with QoS 1, after all that was published before. It keeps payload until the
// flight is over.
func (c *Conn) Publish(topic string, payload []byte) *Flight {
	f := &Flight{conn: c, topic: topic, payload: payload, started: make(chan struct{})}
	select {
	case c.queue <- f:
	case <-c.done:
	}
	return f
}

// deliver hands the messages to paho one by one, at the pace of the wire. It is a goroutine of its own because paho's
// Publish takes its time to notice that the session has ended.
func (c *Conn) deliver() {
	for {
		select {
		case f := <-c.queue:
			if !c.roomy() {
				return
			}
			f.token = c.client.Publish(f.topic, 1, false, f.payload)
			close(f.started)
		case <-c.done:
			return
		}
	}
}

// roomy waits until not too much is waiting to be written; it is false when the session ends before.
func (c *Conn) roomy() bool {
	for c.wire.out.size() > plenty {
		select {
		case <-c.wire.out.drained:
		case <-c.done:
			return false
		}
	}
	return true
}

// Wait returns nil once the server has acknowledged the message in this session, and an error when the session has
// ended without that or ctx has.
func (f *Flight) Wait(ctx context.Context) error {
	select {
	case <-f.started:
		return f.conn.settled(ctx, f.token)
	default:
	}
	select {
	case <-f.started:
		return f.conn.settled(ctx, f.token)
	case <-f.conn.done:
		return f.conn.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settled waits for an acknowledgement. One that has arrived counts, also when the session has ended since.
func (c *Conn) settled(ctx context.Context, token paho.Token) error {
	select {
	case <-token.Done():
		return c.verdict(token)
	default:
	}
	select {
	case <-token.Done():
	case <-c.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-token.Done():
		return c.verdict(token)
	default:
		return c.err
	}
}

// verdict is nil for an acknowledgement. A token with an error is one whose packet paho has given up: the session is
// over, or must be, because nobody knows what arrived.
func (c *Conn) verdict(token paho.Token) error {
	if err := token.Error(); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, c.wire.die(err))
	}
	return nil
}

// refusedFilter is the return code of a SUBACK that grants nothing.
const refusedFilter = 0x80

// Subscribe returns nil once the server has granted the filter at QoS 1 or 0. A filter that it refuses is a
// Permanent error.
func (c *Conn) Subscribe(ctx context.Context, filter string) error {
	return c.SubscribeAt(ctx, 1, filter)
}

// SubscribeAt is Subscribe at qos or below. At 0 the server keeps nothing for the next session, and nothing has to be
// acknowledged.
func (c *Conn) SubscribeAt(ctx context.Context, qos byte, filter string) error {
	select {
	case c.serial <- struct{}{}:
		defer func() { <-c.serial }()
	case <-c.done:
		return fmt.Errorf("subscribe %s: %w", filter, c.err)
	case <-ctx.Done():
		return fmt.Errorf("subscribe %s: %w", filter, context.Cause(ctx))
	}
	token := c.client.Subscribe(filter, qos, nil).(*paho.SubscribeToken)
	if err := c.settled(ctx, token); err != nil {
		return fmt.Errorf("subscribe %s: %w", filter, err)
	}
	// paho calls a refused filter a success (SUBACK 0x80 is in the result only).
	if granted, ok := token.Result()[filter]; !ok || granted >= refusedFilter {
		return fault.As(fault.Permanent, fmt.Errorf("subscribe %s: the server refuses the filter", filter))
	}
	return nil
}
