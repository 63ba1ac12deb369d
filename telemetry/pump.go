package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
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
	// After returns the oldest records behind seq that are not acknowledged: at most max, and of about so many bytes, but
	// at least one where one waits.
	After(seq uint64, max, bytes int) []spool.Record
	// Ack forgets all records up to and including seq.
	Ack(seq uint64) error
	// Aside keeps the record apart for a person to look at. It will not be handed out again.
	Aside(seq uint64) error
	// Ready is closed as soon as Peek has something to return.
	Ready() <-chan struct{}
}

// PumpConfig is what a Pump works with.
type PumpConfig struct {
	Lanes []Lane
	// News rings when one of the lanes has got something, as (*Lanes).News does. nil = the pump looks for itself: one
	// lane tells by its Ready, several are looked at once a second.
	News    <-chan struct{}
	Prepare Prepare                   // how to reach the hub
	Dial    Dial                      // where Prepare is nil: a Switch makes its connection after the old one is closed
	Current func() *identity.Identity // the identity in force; nil before the first enrollment
	Rate    float64                   // messages a second at most, with bursts of one second's; 0 = as many as the hub takes
	Spread  time.Duration             // the first connection comes at a random moment within; 0 = at once
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
	limits   Limits             // of conn
	id       *identity.Identity // who conn is, or was last
	since    time.Time          // when conn was accepted
	next     time.Time          // no dial before
	refusals int                // in a row
	again    int                // readings of a lost session that may arrive twice

	lanes   []*lane // highest priority first
	flights []*span // in the order they were sent
	heard   time.Time
	bytes   int // in flight
	landed  int // messages that this session has delivered
	window  window
	pace    pace
	leaving *leaving // what comes when nothing is in flight any more
	kicks   kicks
	alarm   alarm
	high    int // messages of the highest lane while a lower one waits
	accused *span
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
	Window    int       // messages that may be in flight; less than configured where the hub throttles
	Aside     uint64    // readings set aside since the start, because each session ended that they were sent in
	Kicks     int       // sessions in a row that the hub has ended soon, with nothing wrong on our side
}

// NewPump returns a pump that is ready to Run.
func NewPump(c PumpConfig) *Pump {
	p := &Pump{PumpConfig: c, switches: make(chan switching), lends: make(chan lending), unknown: make(chan struct{}, 1), changes: make(chan struct{}, 1)}
	p.pace.rate = c.Rate
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
	// busy bounds one dial: it ends by itself long before.
	busy = 5 * time.Minute
	// settled is how long a session lives before the next loss of one starts the backoff from its beginning. Two
	// agents with one identity throw each other out within seconds, and must not do so at the pace of a first retry.
	settled = 10 * time.Second
	// farewell is how long the end waits for what is in flight.
	farewell = 3 * time.Second
)

// Run connects as the identity in force and drains the lanes, until ctx ends or an error is Fatal. Then it waits a
// little for what is in flight.
func (p *Pump) Run(ctx context.Context) error {
	defer p.hangUp()
	p.alarm.timer = time.NewTimer(busy)
	defer p.alarm.timer.Stop()
	p.line()
	if p.Spread > 0 && p.Current() != nil {
		p.next = time.Now().Add(rand.N(p.Spread))
		p.tell(func(r *Report) { r.NextTry = p.next })
	}
	for ctx.Err() == nil {
		if err := p.turn(ctx); fault.Of(err) == fault.Fatal {
			return fmt.Errorf("pump: %w", err)
		}
	}
	defer p.leave(ctx) // somebody may wait for the answer
	return p.part(ctx)
}

// line puts the lanes in the order of their priority.
func (p *Pump) line() {
	for i := range p.Lanes {
		p.lanes = append(p.lanes, &lane{Lane: &p.Lanes[i]})
	}
	slices.SortStableFunc(p.lanes, func(a, b *lane) int { return b.Priority - a.Priority })
}

// turn does what can be done at once, and waits for what comes next.
func (p *Pump) turn(ctx context.Context) error {
	now := time.Now()
	if p.conn == nil {
		p.leave(ctx)
		return p.connect(ctx)
	}
	if err := p.land(now); err != nil {
		return err
	}
	if p.late(now) {
		p.lost(errStalled)
		return nil
	}
	if !p.limits.Until.IsZero() && p.leaving == nil && !now.Before(p.limits.Until) {
		p.Log.Info("the session is to end, connecting anew")
		p.quit(now, func(context.Context) { p.hangUp() })
	}
	if p.leaving != nil {
		if len(p.flights) == 0 || !now.Before(p.leaving.by) {
			p.leave(ctx)
			return nil
		}
	} else if err := p.fill(now); err != nil || p.conn == nil {
		return err
	}
	p.rest(ctx, now)
	return nil
}

// part waits for what is in flight when ctx has ended.
func (p *Pump) part(ctx context.Context) error {
	end := time.NewTimer(farewell)
	defer end.Stop()
	for p.conn != nil && len(p.flights) > 0 {
		select {
		case <-p.flights[0].flight.Wake():
		case <-p.conn.Done():
			p.ground()
			return ctx.Err()
		case <-end.C:
			p.ground()
			return ctx.Err()
		}
		if err := p.land(time.Now()); err != nil {
			return fmt.Errorf("pump: %w", err)
		}
	}
	return ctx.Err()
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
