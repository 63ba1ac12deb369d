package iothub

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
)

// Handlers are what the cloud may ask of the device, or tell it. What is nil is not subscribed.
type Handlers struct {
	// Desired gets each change of the desired properties: the merge patch, with the twin's new version of them. It must
	// not block. Changes made while the device was away are not told: they are in Twin.
	Desired func(version int64, patch []byte)
	// Method answers a direct method: a whole number that the caller takes for a status, and JSON of at most 128 KB; no
	// body is null. ctx ends with the session. Several may run side by side.
	Method func(ctx context.Context, name string, payload []byte) (status int, body []byte)
	// Message takes a cloud-to-device message, and returns nil once the message is where it belongs: only then does the
	// hub forget it, and not before those that came earlier. After an error the hub sends it again in the next session,
	// with all that came later. ctx ends with the session. Several may run side by side. A module's input has its name as
	// "$.input".
	Message func(ctx context.Context, properties map[string]string, body []byte) error
}

// downlink is what comes from the hub in a session.
type downlink struct {
	trial *trial
	turns turns

	mu     sync.Mutex
	begun  bool                  // the session may be used
	early  []func()              // what came before that
	asked  map[string]chan reply // requests to the twin, by request ID
	calls  map[call]bool         // direct methods at work
	denied map[call]bool         // direct methods that are told to come later
	held   int                   // messages that nobody has acknowledged

	subscribing sync.Mutex
	granted     map[string]bool
	ready       chan struct{} // closed when the filters of the handlers were tried
}

func newDownlink(t *trial) *downlink {
	return &downlink{
		trial: t, asked: map[string]chan reply{}, calls: map[call]bool{}, denied: map[call]bool{},
		granted: map[string]bool{}, ready: make(chan struct{}),
	}
}

// maxEarly bounds what may come before the session is ours: the hub has at most 50 messages for a device.
const maxEarly = 64

// when runs f now, or as soon as the session may be used.
func (d *downlink) when(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun {
		f()
	} else if len(d.early) < maxEarly {
		d.early = append(d.early, f)
	}
}

func (d *downlink) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = true
	for _, f := range d.early {
		f()
	}
	d.early = nil
}

// remote takes what belongs to twin, methods and messages, and reports whether it did. ack is called at once, but for
// messages.
func (c *Conn) remote(topic string, payload []byte, ack func()) bool {
	if c.message(topic, payload, ack) {
		return true
	}
	if c.twinAnswer(topic, payload) || c.desired(topic, payload) || c.method(topic, payload) {
		ack()
		return true
	}
	return false
}

// subscribeRemote begins to listen to the cloud, without waiting for it: telemetry goes on meanwhile. A session that the
// hub has kept is no reason not to subscribe: what it holds may be what another release of ours has asked for.
func (c *Conn) subscribeRemote(context.Context) {
	c.down.begin()
	filters := c.filters()
	if len(filters) == 0 || !c.down.trial.open() {
		close(c.down.ready)
		return
	}
	go func() {
		defer close(c.down.ready)
		c.listen(filters)
	}()
}

// filters are those of the handlers: with that of certificates, which is asked for when one is, the five that a hub
// grants a device. Changes of the twin are listened for before it is read, or one would be missed in between.
func (c *Conn) filters() []string {
	var all []string
	if c.config.Handlers.Desired != nil {
		all = append(all, desiredFilter, twinFilter)
	}
	if c.config.Handlers.Method != nil {
		all = append(all, methodFilter)
	}
	if c.config.Handlers.Message != nil {
		all = append(all, c.messageFilter())
	}
	return all
}

func (c *Conn) listen(filters []string) {
	for _, filter := range filters {
		err := c.hear(session{c.session}, filter)
		switch {
		case errors.Is(err, mqtt.ErrLost):
			if c.down.trial.cut() {
				c.config.Log.Error("the hub ends each session that asks for twin, methods and messages: no more of them for an hour", "err", err, "hint", noRemote)
			}
			return
		case errors.Is(err, mqtt.ErrClosed):
			return
		case err != nil:
			c.config.Log.Error("the cloud cannot ask for all that it may", "err", err, "hint", fault.Hint(err))
		}
	}
	c.down.trial.passed()
}

const noRemote = "check that the hub is not of the basic tier, which has no device twins, direct methods and cloud-to-device messages; " +
	"where it is, leave remote out of the configuration"

// hear subscribes to filter, once in a session.
func (c *Conn) hear(ctx context.Context, filter string) error {
	c.down.subscribing.Lock()
	defer c.down.subscribing.Unlock()
	if c.down.granted[filter] {
		return nil
	}
	err := c.session.SubscribeAt(ctx, c.qos(filter), filter)
	if fault.Of(err) == fault.Permanent {
		return fault.AskOperator(err, noRemote)
	}
	c.down.granted[filter] = err == nil
	return err
}

// qos is 1 for messages, which the hub keeps until they are acknowledged. A method that comes in the next session comes too
// late, the twin is read anew there, and what needs no acknowledgement does not wait for that of a message.
func (c *Conn) qos(filter string) byte {
	if filter == c.messageFilter() {
		return 1
	}
	return 0
}

// session is a context that ends with it.
type session struct{ *mqtt.Conn }

func (session) Deadline() (time.Time, bool) { return time.Time{}, false }
func (session) Value(any) any               { return nil }

// trial finds out whether it is our asking that makes the hub hang up: telemetry is worth more than the cloud's
// questions. The zero value has not begun.
type trial struct {
	cuts  atomic.Int32 // sessions in a row that ended at the question
	until atomic.Int64 // Unix time; no question before
}

// respite is how long the hub is left alone.
const respite = time.Hour

func (t *trial) open() bool { return time.Now().Unix() >= t.until.Load() }
func (t *trial) passed()    { t.cuts.Store(0) }

// cut notes a session that ended at the question, and reports whether that was one too many.
func (t *trial) cut() bool {
	if t.cuts.Add(1) < kills {
		return false
	}
	t.cuts.Store(0)
	t.until.Store(time.Now().Add(respite).Unix())
	return true
}
