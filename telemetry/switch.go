package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/devid-agent/devid-agent/identity"
)

type switching struct {
	id       *identity.Identity
	prepared Prepared // nil = it is to be dialled
	answer   chan switched
}

type switched struct {
	receipt Receipt
	err     error
}

type lending struct{ answer chan Conn }

// Receipt is what a change of identity cost.
type Receipt struct {
	Gap   time.Duration // in which nothing could be sent: from the last message as the old identity to the CONNACK as the new
	Again int           // readings that were in flight in a session that was lost, and may arrive twice
}

// Switch makes the pump go on as id: a connection is made while the old session still sends, then what is in flight is
// finished, the session closed, and the new one opened. The hub allows one session per identity, so proving an identity
// is switching to it. After an error the pump goes on as it was, and the error says why; one that wraps ErrRefused means
// that the hub does not accept id.
func (p *Pump) Switch(ctx context.Context, id *identity.Identity) (Receipt, error) {
	s := switching{id: id, answer: make(chan switched, 1)}
	if p.Prepare != nil {
		var err error
		if s.prepared, err = p.Prepare(ctx, id); err != nil {
			return Receipt{}, err
		}
	}
	select {
	case p.switches <- s:
	case <-ctx.Done():
		if s.prepared != nil {
			_ = s.prepared.Close()
		}
		return Receipt{}, ctx.Err()
	}
	select {
	case s := <-s.answer:
		return s.receipt, s.err
	case <-ctx.Done():
		return Receipt{}, ctx.Err()
	}
}

// Lend returns the live session as soon as there is one, for an ability that it may have besides Send. The pump
// goes on using it, and it alone closes it.
func (p *Pump) Lend(ctx context.Context) (Conn, error) {
	answer := make(chan Conn, 1)
	select {
	case p.lends <- lending{answer}:
		return <-answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wait returns after d, when ctx ends, or after answering one question. There is no session.
func (p *Pump) wait(ctx context.Context, d time.Duration) {
	p.tell(func(r *Report) { r.Turn = time.Now().Add(d) })
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case s := <-p.switches:
		p.change(ctx, s, time.Now())
	}
}

// leaving is the end of a session that begins with sending no more.
type leaving struct {
	by   time.Time // at the latest
	then func(ctx context.Context)
}

// drain bounds how long an orderly end waits for acknowledgements: two round trips of the worst network there is.
const drain = 10 * time.Second

// quit sends no more in this session, and does then when all is acknowledged, or the session lost.
func (p *Pump) quit(now time.Time, then func(ctx context.Context)) {
	p.leaving = &leaving{now.Add(drain), then}
}

func (p *Pump) leave(ctx context.Context) {
	if l := p.leaving; l != nil {
		p.leaving = nil
		p.ground()
		l.then(ctx)
	}
}

// departures is where Switch may ask: not while a session is about to end.
func (p *Pump) departures() <-chan switching {
	if p.leaving != nil {
		return nil
	}
	return p.switches
}

// depart begins a Switch while a session is open.
func (p *Pump) depart(s switching) {
	quiet := time.Now()
	p.quit(quiet, func(ctx context.Context) { p.change(ctx, s, quiet) })
}

// change ends the session, if there is one, and begins the one of s. Nothing is in flight.
func (p *Pump) change(ctx context.Context, s switching, quiet time.Time) {
	p.hangUp()
	receipt := Receipt{Again: p.again}
	err := p.assume(ctx, s)
	if err == nil {
		receipt.Gap = time.Since(quiet)
		p.kicks = kicks{}
		p.tell(func(r *Report) { r.Last, r.Switches = receipt, r.Switches+1 })
		p.Log.Info("switched identity", "identity", s.id, "gap", receipt.Gap.Round(time.Microsecond), "again", receipt.Again)
	} else {
		// Back to who we were, at once: nobody has refused that.
		p.next = time.Time{}
		state := "offline"
		if errors.Is(err, ErrRefused) {
			state = "refused"
		}
		p.tell(func(r *Report) { r.State, r.Since, r.LastError = state, time.Now(), err })
	}
	s.answer <- switched{receipt, err}
}

func (p *Pump) assume(ctx context.Context, s switching) error {
	if s.prepared == nil {
		return p.dial(ctx, s.id)
	}
	p.connecting()
	conn, err := s.prepared.Connect(ctx)
	if err != nil {
		return err
	}
	p.begin(conn, s.id)
	return nil
}
