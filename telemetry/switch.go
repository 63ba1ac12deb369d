package telemetry

import (
	"context"
	"errors"
	"time"

	"github.com/devid-agent/devid-agent/identity"
)

// Switch makes the pump go on as id: what is in flight is finished, the session closed, and a new one opened. The
// hub allows one session per identity, so proving an identity is switching to it. After an error the pump goes on
// as it was, and the error says why; one that wraps ErrRefused means that the hub does not accept id.
func (p *Pump) Switch(ctx context.Context, id *identity.Identity) (Receipt, error) {
	answer := make(chan switched, 1)
	select {
	case p.switches <- switching{id, answer}:
	case <-ctx.Done():
		return Receipt{}, ctx.Err()
	}
	select {
	case s := <-answer:
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

// borrowable is where Lend may ask: only while there is a session.
func (p *Pump) borrowable() <-chan lending {
	if p.conn == nil {
		return nil
	}
	return p.lends
}

// ended is the end of the session, or never.
func (p *Pump) ended() <-chan struct{} {
	if p.conn == nil {
		return nil
	}
	return p.conn.Done()
}

// asked answers one question if there is one, without waiting for it.
func (p *Pump) asked(ctx context.Context) bool {
	select {
	case s := <-p.switches:
		p.change(ctx, s)
	case l := <-p.borrowable():
		l.answer <- p.conn
	case <-p.ended():
		p.lost(nil)
	default:
		return false
	}
	return true
}

// wait returns after d, when wake is closed, when ctx ends, or after answering one question.
func (p *Pump) wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	p.tell(func(r *Report) { r.Turn = time.Now().Add(d) })
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	case s := <-p.switches:
		p.change(ctx, s)
	case l := <-p.borrowable():
		l.answer <- p.conn
	case <-p.ended():
		p.lost(nil)
	}
}

// change is Switch, in the loop: nothing is in flight here, Send has returned.
func (p *Pump) change(ctx context.Context, s switching) {
	start := time.Now()
	p.hangUp()
	receipt := Receipt{Again: p.again}
	err := p.dial(ctx, s.id)
	if err == nil {
		receipt.Gap = time.Since(start)
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
