package telemetry

import (
	"context"
	"runtime"
	"time"
)

// rest waits until something is to be done.
func (p *Pump) rest(ctx context.Context, now time.Time) {
	if p.leaving != nil {
		p.alarm.at(p.leaving.by)
	} else if !p.limits.Until.IsZero() {
		p.alarm.at(p.limits.Until)
	}
	var head <-chan struct{}
	if len(p.flights) > 0 {
		head = p.flights[0].flight.Wake()
		p.alarm.at(p.due())
	}
	news := p.ears(now)
	p.breathe()
	select {
	case <-ctx.Done():
	case <-head:
		runtime.Gosched() // others that have arrived are noted first: one turn for all
		if p.News == nil {
			p.look()
		}
	case <-news:
		p.look()
	case <-p.alarm.set(now):
		p.alarm.rang()
		p.look()
	case s := <-p.departures():
		p.depart(s)
	case l := <-p.lends:
		l.answer <- p.conn
	case <-p.conn.Done():
		p.lost(p.conn.Err())
	}
}

// breathe says until when the loop turns at the latest.
func (p *Pump) breathe() {
	if by := p.alarm.next(); p.report.Load().Turn.Before(by) {
		p.tell(func(r *Report) { r.Turn, r.Window = by.Add(busy), p.window.size })
	}
}

// ears is the channel on which readings are told that come now; nil where none are wanted, or nobody tells.
func (p *Pump) ears(now time.Time) <-chan struct{} {
	if p.leaving != nil || len(p.flights) >= p.window.size {
		return nil
	}
	var ready <-chan struct{}
	for _, l := range p.lanes {
		if len(l.spans) > 0 || len(l.ahead) > 0 || !l.dry {
			continue
		}
		select {
		case <-l.heard:
			// It said that it has something, and handed out nothing: the medium does not give it back. A second is soon
			// enough to ask again.
			p.alarm.at(now.Add(time.Second))
		default:
			ready = l.heard
		}
	}
	if p.News != nil {
		return p.News
	}
	if len(p.lanes) > 1 {
		p.alarm.at(now.Add(time.Second))
	}
	return ready
}

// look makes all lanes ask their queues again.
func (p *Pump) look() {
	for _, l := range p.lanes {
		l.dry = false
	}
}
