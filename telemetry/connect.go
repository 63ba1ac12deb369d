package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
)

const refusalsUntilUnknown = 3

var errEnded = errors.New("session ended by the hub")

// connect dials as whoever the device is, or waits until that makes sense.
func (p *Pump) connect(ctx context.Context) error {
	if p.conn != nil {
		return nil // a Switch has just been answered
	}
	id := p.who()
	if id == nil {
		p.wait(ctx, time.Hour) // the first identity arrives by Switch
		return nil
	}
	if wait := time.Until(p.next); wait > 0 {
		p.wait(ctx, wait)
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
	p.connecting()
	dial := p.Dial
	if p.Prepare != nil {
		dial = p.Prepare.dial
	}
	conn, err := dial(ctx, id)
	if err != nil {
		return err
	}
	p.begin(conn, id)
	return nil
}

func (f Prepare) dial(ctx context.Context, id *identity.Identity) (Conn, error) {
	p, err := f(ctx, id)
	if err != nil {
		return nil, err
	}
	return p.Connect(ctx)
}

func (p *Pump) connecting() {
	p.tell(func(r *Report) { r.State, r.Since, r.Turn = "connecting", time.Now(), time.Now().Add(busy) })
}

// begin takes over a session that the hub has accepted.
func (p *Pump) begin(conn Conn, id *identity.Identity) {
	now := time.Now()
	p.conn, p.id, p.since, p.heard, p.refusals, p.landed = conn, id, now, now, 0, 0
	p.limits = conn.Limits()
	if p.limits.Window <= 0 {
		p.limits.Window = 16
	}
	if p.limits.Stall <= 0 {
		p.limits.Stall = 30 * time.Second
	}
	p.window.begin(p.limits.Window)
	p.unpark()
	p.look()
	p.tell(func(r *Report) { r.State, r.Since, r.NextTry, r.Window = "online", now, time.Time{}, p.window.size })
	p.Log.Info("connected", "identity", id)
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
	now := time.Now()
	if err == nil {
		err = errEnded
	}
	waiting := p.ground()
	if len(waiting) > 0 {
		p.window.halve(now)
	}
	p.judge(waiting)
	err, kicked := p.kicks.ended(err, now.Sub(p.since), p.accused != nil)
	if now.Sub(p.since) >= settled && !kicked {
		p.Backoff.Next(nil)
	}
	p.hangUp()
	wait, _ := p.Backoff.Next(fault.As(fault.Transient, err))
	p.next = now.Add(wait)
	p.tell(func(r *Report) {
		r.State, r.Since, r.NextTry, r.LastError = "offline", now, p.next, err
		r.Window, r.Kicks = p.window.size, p.kicks.count
	})
	p.Log.Warn("session lost", "err", err, "hint", fault.Hint(err), "again", p.again, "wait", wait.Round(time.Millisecond))
}

func (p *Pump) hangUp() {
	if p.conn != nil {
		_ = p.conn.Close() // the session is over either way
		p.conn = nil
	}
}

// kicks counts sessions that the hub has ended soon, though nothing was wrong with them.
type kicks struct{ count int }

const (
	// soon is less than a session lasts that nobody else ends.
	soon = 15 * time.Minute
	// kicksUntilAlarm is how many in a row are no coincidence.
	kicksUntilAlarm = 4
)

const rival = "one identity has one connection: look for a second agent, a copy of this device's disk or another program that " +
	"connects as this device; a hub whose daily quota is used up looks the same"

// ended judges the end of a session, and adds a hint where another one may have ended it. kicked says that the two may
// be at it in turn: then the pace must not become that of a first retry.
func (k *kicks) ended(err error, lived time.Duration, poisoned bool) (judged error, kicked bool) {
	if !errors.Is(err, ErrHungUp) || lived >= soon || poisoned {
		k.count = 0
		return err, false
	}
	if k.count++; k.count < kicksUntilAlarm {
		return err, false
	}
	return fault.As(fault.Transient, fault.AskOperator(err, rival)), true
}
