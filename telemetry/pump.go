package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// Queue is what the pump empties. A *spool.Spool is one.
type Queue interface {
	// Peek returns the oldest records that are not acknowledged, at most max.
	Peek(max int) []spool.Record
	// Ack forgets all records up to and including seq.
	Ack(seq uint64) error
	// Ready is closed as soon as Peek has something to return.
	Ready() <-chan struct{}
}

// PumpConfig is what a Pump works with.
type PumpConfig struct {
	Queue   Queue
	Dial    Dial
	Current func() *identity.Identity // the identity in force; nil before the first enrollment
	Batch   int                       // records handed to one Send; 0 is 64
	Backoff fault.Backoff
	Log     *slog.Logger
}

// Pump owns the connection: it alone dials, sends and hangs up. Others ask by Switch and Lend.
type Pump struct {
	PumpConfig
	switches chan switching
	lends    chan lending
	unknown  chan struct{}
	changes  chan struct{}
	report   atomic.Pointer[Report]

	// owned by Run
	conn     Conn
	id       *identity.Identity // who conn is, or was last
	since    time.Time          // when conn was accepted
	next     time.Time          // no dial before
	refusals int                // in a row
	again    int                // records of a lost session that may arrive twice
}

type switching struct {
	id     *identity.Identity
	answer chan switched
}

type switched struct {
	receipt Receipt
	err     error
}

type lending struct{ answer chan Conn }

// Receipt is what a change of identity cost.
type Receipt struct {
	Gap   time.Duration // from hanging up as the old identity to the CONNACK as the new
	Again int           // readings that were in flight in a session that was lost, and may arrive twice
}

// Report is the pump's state for people.
type Report struct {
	State     string // "waiting" for an identity, "connecting", "online", "offline", "refused"
	Since     time.Time
	NextTry   time.Time // zero while online
	LastError error     // why the last session or the last dial ended
	Last      Receipt   // of the last Switch
	Switches  int
	Turn      time.Time // the loop has turned by then, unless it hangs
}

// NewPump returns a pump that is ready to Run.
func NewPump(c PumpConfig) *Pump {
	if c.Batch == 0 {
		c.Batch = 64
	}
	p := &Pump{PumpConfig: c, switches: make(chan switching), lends: make(chan lending), unknown: make(chan struct{}, 1), changes: make(chan struct{}, 1)}
	p.report.Store(&Report{State: "waiting", Since: time.Now()})
	return p
}

// Report is the state after the last turn of the loop.
func (p *Pump) Report() Report { return *p.report.Load() }

// Unknown tells, each time that the hub has refused the identity in force for the third time in a row, that it
// no longer knows us.
func (p *Pump) Unknown() <-chan struct{} { return p.unknown }

// Accepted reports whether the hub has accepted us, in the session that is open now.
func (p *Pump) Accepted() bool { return p.Report().State == "online" }

const (
	refusalsUntilUnknown = 3
	// busy bounds one dial or one Send: both end by themselves long before.
	busy = 5 * time.Minute
	// settled is how long a session lives before the next loss of one starts the backoff from its beginning. Two
	// agents with one identity throw each other out within seconds, and must not do so at the pace of a first retry.
	settled = 10 * time.Second
)

// Run connects as the identity in force and drains the queue, until ctx ends or an error is Fatal.
func (p *Pump) Run(ctx context.Context) error {
	defer p.hangUp()
	for ctx.Err() == nil {
		if err := p.turn(ctx); fault.Of(err) == fault.Fatal {
			return fmt.Errorf("pump: %w", err)
		}
	}
	return ctx.Err()
}

// turn does one thing and comes back: answer what others ask, connect, send a batch, or wait.
func (p *Pump) turn(ctx context.Context) error {
	if p.asked(ctx) {
		return nil
	}
	if p.conn == nil {
		return p.connect(ctx)
	}
	ready := p.Queue.Ready()
	batch := p.Queue.Peek(p.Batch)
	if len(batch) == 0 {
		p.rest(ctx, ready)
		return nil
	}
	return p.send(ctx, batch)
}

// rest waits until the queue is ready, which it was not when it handed out nothing. Where it was, the medium does not
// give back what it holds, and a second is soon enough to ask again.
func (p *Pump) rest(ctx context.Context, ready <-chan struct{}) {
	select {
	case <-ready:
		p.wait(ctx, time.Second, nil)
	default:
		p.wait(ctx, time.Hour, ready)
	}
}

func (p *Pump) send(ctx context.Context, batch []spool.Record) error {
	p.tell(func(r *Report) { r.Turn = time.Now().Add(busy) })
	n, err := p.conn.Send(ctx, batch)
	if n > 0 {
		p.again = 0
		if ackErr := p.Queue.Ack(batch[n-1].Seq); ackErr != nil {
			// The cursor on disk is behind: after a restart these records go again. Nothing is lost.
			if fault.Of(ackErr) == fault.Fatal {
				return ackErr
			}
			p.Log.Warn("acknowledgement not on disk", "seq", batch[n-1].Seq, "err", ackErr, "hint", fault.Hint(ackErr))
		}
	}
	if err != nil && ctx.Err() == nil {
		p.again = len(batch) - n
		p.lost(err)
	}
	return nil
}

// connect dials as whoever the device is, or waits until that makes sense.
func (p *Pump) connect(ctx context.Context) error {
	id := p.who()
	if id == nil {
		p.wait(ctx, time.Hour, nil) // the first identity arrives by Switch
		return nil
	}
	if wait := time.Until(p.next); wait > 0 {
		p.wait(ctx, wait, nil)
		return nil
	}
	if err := p.dial(ctx, id); err != nil && ctx.Err() == nil {
		return p.postpone(err)
	}
	return nil
}

// who is the identity to connect as: the one switched to, until one of a later generation is in force.
func (p *Pump) who() *identity.Identity {
	cur := p.Current()
	if cur == nil || p.id != nil && p.id.Generation > cur.Generation {
		return p.id
	}
	return cur
}

func (p *Pump) dial(ctx context.Context, id *identity.Identity) error {
	p.tell(func(r *Report) { r.State, r.Since, r.Turn = "connecting", time.Now(), time.Now().Add(busy) })
	conn, err := p.Dial(ctx, id)
	if err != nil {
		return err
	}
	p.conn, p.id, p.since, p.refusals = conn, id, time.Now(), 0
	p.tell(func(r *Report) { r.State, r.Since, r.NextTry = "online", p.since, time.Time{} })
	p.Log.Info("connected", "identity", id)
	return nil
}

// postpone notes why a dial failed and when the next one may be.
func (p *Pump) postpone(err error) error {
	state := "offline"
	if errors.Is(err, ErrRefused) {
		state = "refused"
		if p.refusals++; p.refusals < refusalsUntilUnknown {
			// A hub that was told of a new certificate a moment ago may need another moment.
			err = fault.As(fault.Transient, err)
		} else if p.refusals == refusalsUntilUnknown {
			p.Log.Error("the hub does not know this identity any more", "identity", p.who(), "err", err)
			select {
			case p.unknown <- struct{}{}:
			default:
			}
		}
	}
	wait, again := p.Backoff.Next(err)
	if !again {
		return err
	}
	p.next = time.Now().Add(wait)
	p.tell(func(r *Report) { r.State, r.Since, r.NextTry, r.LastError = state, time.Now(), p.next, err })
	p.Log.Warn("not connected", "err", err, "kind", fault.Of(err), "hint", fault.Hint(err), "wait", wait.Round(time.Millisecond))
	return nil
}

// lost ends a session that has ended. The next dial comes after the backoff: the whole fleet may have lost it.
func (p *Pump) lost(err error) {
	if err == nil {
		err = errors.New("session ended by the hub")
	}
	if time.Since(p.since) >= settled {
		p.Backoff.Next(nil)
	}
	p.hangUp()
	wait, _ := p.Backoff.Next(fault.As(fault.Transient, err))
	p.next = time.Now().Add(wait)
	p.tell(func(r *Report) { r.State, r.Since, r.NextTry, r.LastError = "offline", time.Now(), p.next, err })
	p.Log.Warn("session lost", "err", err, "again", p.again, "wait", wait.Round(time.Millisecond))
}

func (p *Pump) hangUp() {
	if p.conn != nil {
		_ = p.conn.Close() // the session is over either way
		p.conn = nil
	}
}

func (p *Pump) tell(change func(*Report)) {
	r := p.Report()
	before := r.State
	change(&r)
	p.report.Store(&r)
	if r.State != before {
		select {
		case p.changes <- struct{}{}:
		default:
		}
	}
}

// Changes tells that the State of the report is another one.
func (p *Pump) Changes() <-chan struct{} { return p.changes }
