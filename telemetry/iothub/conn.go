package iothub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// maxMessage is the largest device-to-cloud message, body and properties together.
const maxMessage = 256 << 10

// grace is how long Send waits for what is in flight after its ctx has ended.
const grace = 5 * time.Second

var errStalled = errors.New("the hub has not acknowledged a message in time")

// Conn is one session with a hub. It is a telemetry.Conn and a Certifier; both go on side by side.
type Conn struct {
	config     Config
	device     string
	address    string // what its topics begin with
	session    *mqtt.Conn
	sending    sync.Mutex
	retire     *time.Timer // nil where a certificate lasts
	box        *mailbox
	subscribed chan bool // to the credential answers; whoever holds the value may change it
}

// Done is closed when the session has ended, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.session.Done() }

// Close ends the session. It may be called more than once.
func (c *Conn) Close() error {
	if c.retire != nil {
		c.retire.Stop()
	}
	return c.session.Close()
}

// retireIn ends the session after d, between two batches: the hub would end it when its token does, in the middle of one.
func (c *Conn) retireIn(d time.Duration) {
	c.retire = time.AfterFunc(d, func() {
		c.sending.Lock()
		defer c.sending.Unlock()
		c.config.Log.Info("the token ends soon, connecting with a new one")
		c.session.Close()
	})
}

// Send publishes the batch in order, a window of messages in flight. The first n records are acknowledged by the hub
// in this session, also when err is not nil; the rest may or may not have arrived. When ctx ends, Send publishes
// no more and waits a little for what is in flight. A record that is too large for the hub is a Permanent error.
func (c *Conn) Send(ctx context.Context, batch []spool.Record) (n int, err error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	patience, cancel := lasting(ctx, grace)
	defer cancel()
	flights := make([]*mqtt.Flight, 0, len(batch))
	for n < len(batch) {
		for err == nil && len(flights) < len(batch) && len(flights)-n < c.config.Window {
			var flight *mqtt.Flight
			if flight, err = c.publish(ctx, batch[len(flights)]); err == nil {
				flights = append(flights, flight)
			}
		}
		if n == len(flights) {
			return n, err
		}
		if lost := c.land(patience, flights[n]); lost != nil {
			return n, lost
		}
		n++
	}
	return n, nil
}

func (c *Conn) publish(ctx context.Context, r spool.Record) (*mqtt.Flight, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	topic := c.topic(r)
	if size := len(topic) + len(r.Body); size > maxMessage {
		return nil, fault.As(fault.Permanent, fmt.Errorf("record %d: %d bytes are more than the hub's %d", r.Seq, size, maxMessage))
	}
	return c.session.Publish(topic, r.Body), nil
}

// land waits for the oldest message in flight. When its acknowledgement does not come the session is over: only a new
// one can tell what arrived.
func (c *Conn) land(ctx context.Context, f *mqtt.Flight) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Stall, errStalled)
	defer cancel()
	err := f.Wait(ctx)
	if err != nil && ctx.Err() != nil {
		c.session.Close()
	}
	return err
}

// lasting is a context that outlives ctx by d.
func lasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	timer := time.AfterFunc(time.Hour, func() { cancel(context.Cause(ctx)) })
	timer.Stop()
	stop := context.AfterFunc(ctx, func() {
		if longer.Err() == nil {
			timer.Reset(d)
		}
	})
	return longer, func() {
		stop()
		timer.Stop()
		cancel(nil)
	}
}

// topic is where r is published: its properties are in the name, percent-encoded. The message ID lets the receiver drop
// what it has already; it has the reading's time in it, because a medium that lost its newest readings, and every trace
// of them, makes the spool give their numbers again.
func (c *Conn) topic(r spool.Record) string {
	seq := strconv.FormatUint(r.Seq, 10)
	bag := []string{
		"%24.mid=" + escape(c.config.SpoolID+"-"+seq+"-"+strconv.FormatInt(r.Time.UnixNano(), 36)),
		"%24.ct=" + escape("application/json"),
		"%24.ce=utf-8",
		"%24.ctime=" + escape(r.Time.UTC().Format("2006-01-02T15:04:05.000Z")),
		"stream=" + escape(r.Stream),
		"seq=" + seq,
	}
	return c.address + "/messages/events/" + strings.Join(bag, "&")
}

// receive takes what the hub sends, from the first message on.
func (c *Conn) receive(topic string, payload []byte) {
	if a, ok := parseAnswer(topic, payload); ok {
		c.box.put(a)
	}
}
