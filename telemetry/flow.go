package telemetry

import (
	"errors"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

var errStalled = errors.New("the hub has not acknowledged a message in time")

// share is how often the lanes below get their turn while a higher one has always something: one message of so many.
const share = 8

// fill sends until the window is full or nothing waits.
func (p *Pump) fill(now time.Time) error {
	for p.conn != nil && len(p.flights) < p.window.size {
		if suspect := p.suspect(); suspect != nil {
			if alone, err := p.examine(suspect, now); alone || err != nil {
				return err
			}
		}
		wait, ok := p.pace.take(now)
		if !ok {
			p.alarm.at(now.Add(wait))
			return nil
		}
		l := p.choose(now)
		if l == nil {
			p.pace.undo()
			return nil
		}
		if err := p.launch(l, now); err != nil {
			return err
		}
	}
	return nil
}

// choose is the lane whose turn it is, nil where none has anything to send now.
func (p *Pump) choose(now time.Time) *lane {
	var top, low *lane
	for _, l := range p.lanes {
		l.since++
		at, ok := l.ready(now)
		switch {
		case !ok && !at.IsZero():
			p.alarm.at(at)
		case !ok:
		case top == nil, l.Priority == top.Priority && l.since > top.since:
			top = l
		case l.Priority < top.Priority && (low == nil || l.since > low.since):
			low = l
		}
	}
	if top == nil {
		return nil
	}
	if low == nil {
		p.high = 0
	} else if p.high++; p.high >= share {
		p.high, top = 0, low
	}
	top.since = 0
	return top
}

// launch sends the next message of l.
func (p *Pump) launch(l *lane, now time.Time) error {
	if s := l.resend(); s != nil {
		return p.relaunch(s, now)
	}
	n, flight, err := p.conn.Send(l.Lane, l.ahead)
	switch {
	case err == nil:
		p.fly(l.fresh(n, now), flight, now)
	case fault.Of(err) == fault.Permanent:
		return p.condemn(l.fresh(1, now), err)
	default:
		p.lost(err)
	}
	return nil
}

// relaunch sends a span again, with what is left of it: time and room may have taken some of its readings.
func (p *Pump) relaunch(s *span, now time.Time) error {
	records := s.lane.Queue.After(s.first-1, s.n, s.bytes+aheadBytes)
	for i := range records {
		if records[i].Seq > s.last {
			records = records[:i]
			break
		}
	}
	if len(records) == 0 {
		s.landed = true
		s.lane.waiting--
		return p.acknowledge(s.lane)
	}
	n, flight, err := p.conn.Send(s.lane.Lane, records)
	switch {
	case err == nil:
		s.cut(records[n-1].Seq, s.last)
		s.n, s.bytes = n, weigh(records[:n])
		s.lane.waiting--
		p.fly(s, flight, now)
	case fault.Of(err) == fault.Permanent:
		s.cut(records[0].Seq, s.last)
		s.lane.waiting--
		return p.condemn(s, err)
	default:
		p.lost(err)
	}
	return nil
}

// cut ends a span with the number last, and makes another one of what is behind, up to the number end.
func (s *span) cut(last, end uint64) {
	if last >= end {
		return
	}
	rest := *s
	rest.first, s.last = last+1, last
	l := s.lane
	for i := range l.spans {
		if l.spans[i] == s {
			l.spans = append(l.spans[:i+1], append([]*span{&rest}, l.spans[i+1:]...)...)
			l.waiting++
			return
		}
	}
}

func (p *Pump) fly(s *span, f Flight, now time.Time) {
	if len(p.flights) == 0 {
		p.heard = now
	}
	s.flight, s.sent = f, now
	p.bytes += s.bytes
	p.flights = append(p.flights, s)
}

// land notes what was acknowledged. A hub acknowledges in order (MQTT 3.1.1, 4.6), so that the oldest tells.
func (p *Pump) land(now time.Time) error {
	n := 0
	for n < len(p.flights) && p.flights[n].flight.Landed() {
		p.arrived(p.flights[n], now)
		n++
	}
	if n == 0 {
		return nil
	}
	done := p.flights[:n]
	var err error
	for i, s := range done {
		if i+1 == n || done[i+1].lane != s.lane {
			err = errors.Join(err, p.acknowledge(s.lane))
		}
	}
	rest := copy(p.flights, p.flights[n:])
	clear(p.flights[rest:])
	p.flights = p.flights[:rest]
	p.heard = now
	return err
}

func (p *Pump) arrived(s *span, now time.Time) {
	s.arrived()
	p.bytes -= s.bytes
	p.again = 0
	p.landed++
	p.window.landed(s.sent, now)
}

// acknowledge lets the queue forget what has arrived.
func (p *Pump) acknowledge(l *lane) error {
	seq := l.forget()
	if seq == 0 {
		return nil
	}
	if err := l.Queue.Ack(seq); err != nil {
		// The cursor on disk is behind: after a restart these records go again. Nothing is lost.
		if fault.Of(err) == fault.Fatal {
			return err
		}
		p.Log.Warn("acknowledgement not on disk", "lane", l.Name, "seq", seq, "err", err, "hint", fault.Hint(err))
	}
	return nil
}

// ground is the end of the session for what is in flight: what has arrived is noted, the rest is to be sent again. It
// returns the messages that are.
func (p *Pump) ground() (waiting []*span) {
	p.again = 0
	for _, s := range p.flights {
		if s.flight.Landed() {
			p.landed++
			s.arrived()
			continue
		}
		s.flight = nil
		s.lane.waiting++
		p.again += s.n
		waiting = append(waiting, s)
	}
	clear(p.flights)
	p.flights, p.bytes = p.flights[:0], 0
	for _, l := range p.lanes {
		l.ahead, l.dry = nil, false
		if err := p.acknowledge(l); err != nil {
			p.Log.Error("acknowledgement not on disk", "lane", l.Name, "err", err, "hint", fault.Hint(err))
		}
	}
	return waiting
}

// slowest is the rate in bytes a second at which a message may still be on its way when the hub seems to stall.
const slowest = 1024

// due is when the oldest message in flight should have been acknowledged.
func (p *Pump) due() time.Time {
	return p.heard.Add(p.limits.Stall + time.Duration(p.bytes)*time.Second/slowest)
}

// late reports whether that was long ago.
func (p *Pump) late(now time.Time) bool { return len(p.flights) > 0 && !now.Before(p.due()) }
