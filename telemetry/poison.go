package telemetry

import (
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// A message may end each session that it is sent in: a hub says no in no other way (MQTT 3.1.1, 4.8). It must not hold
// up the rest for ever, and a hub that merely flaps, or whose quota is used up, must not cost a reading. So what was
// the oldest in flight in three lost sessions is held back; when others have passed, it is sent alone; and only when that
// ends the session twice, each time after others have passed, it is set aside. Where the hub does not get to acknowledge
// what came before, the window, which each loss halves, soon makes the guilty one the oldest.
const (
	deaths     = 3
	guilt      = 2
	longestTry = time.Hour
)

func (s *span) suspect() bool { return s.deaths >= deaths }

// accuse is the first suspect, in the order of the lanes.
func (p *Pump) accuse() *span {
	for _, l := range p.lanes {
		if l.waiting == 0 {
			continue
		}
		for _, s := range l.spans {
			if s.idle() && s.suspect() {
				return s
			}
		}
	}
	return nil
}

// suspect is the message that may be what ends the sessions, nil where there is none.
func (p *Pump) suspect() *span {
	if p.accused != nil && p.accused.landed {
		p.accused = p.accuse()
	}
	return p.accused
}

// examine sends the suspect alone, as soon as others have passed. alone says that nothing else is to be sent now.
func (p *Pump) examine(s *span, now time.Time) (alone bool, err error) {
	if s.flight != nil {
		return true, nil
	}
	if due := p.since.Add(p.trust(s)); now.Before(due) {
		p.alarm.at(due)
		return false, nil
	}
	if len(p.flights) > 0 {
		return true, nil
	}
	return true, p.relaunch(s, now)
}

// trust is how old a session must be before s may end it: old enough to say that it would have lived. Where there is
// nothing else to send, s is tried more and more seldom.
func (p *Pump) trust(s *span) time.Duration {
	if p.landed > 0 {
		return settled
	}
	return min(settled<<min(s.tries, 10), longestTry)
}

// judge learns from a lost session, and from the messages that were in flight.
func (p *Pump) judge(waiting []*span) {
	if s := p.accused; s != nil && s.idle() {
		switch {
		case len(waiting) != 1 || waiting[0] != s:
			p.acquit() // the session has ended without it
		case p.landed == 0:
			s.tries++
			return
		default:
			p.convict(s)
			return
		}
	}
	if len(waiting) > 0 {
		waiting[0].deaths++
	}
	p.accused = p.accuse()
}

// acquit begins anew: it is the hub that ends sessions.
func (p *Pump) acquit() {
	for _, l := range p.lanes {
		for _, s := range l.spans {
			s.deaths, s.guilty = 0, 0
		}
	}
	p.accused = nil
}

// convict notes that the session ended with s alone, though others had passed in it.
func (p *Pump) convict(s *span) {
	if s.guilty++; s.guilty < guilt {
		return
	}
	if s.n > 1 {
		s.scatter()
		return
	}
	s.lane.waiting--
	if err := p.condemn(s, errEnded); err != nil {
		p.Log.Error("a reading ends each session, and cannot be set aside", "lane", s.lane.Name, "seq", s.last, "err", err)
	}
	p.accused = p.accuse()
}

// scatter takes a pack apart: one of its readings is to blame, and each is suspected.
func (s *span) scatter() {
	for seq := s.first; seq < s.last; seq++ {
		s.cut(seq, s.last)
		s.n, s.guilty = 1, 0
		s = s.lane.after(s)
	}
	s.n, s.guilty = 1, 0
}

// after is the span behind s.
func (l *lane) after(s *span) *span {
	for i := range l.spans {
		if l.spans[i] == s && i+1 < len(l.spans) {
			return l.spans[i+1]
		}
	}
	return s
}

// condemn sets aside a reading that can never be delivered.
func (p *Pump) condemn(s *span, why error) error {
	if err := s.lane.Queue.Aside(s.last); err != nil { // s.first may have expired
		if fault.Of(err) == fault.Fatal {
			return err
		}
		// It stays where it is, and so does all behind it that has arrived: nothing is lost, and it is tried again.
		s.parked = true
		p.Log.Error("a reading that cannot be sent cannot be set aside either", "lane", s.lane.Name, "stream", s.stream, "seq", s.last, "err", err, "hint", fault.Hint(err))
		return nil
	}
	s.arrived()
	p.tell(func(r *Report) { r.Aside++ })
	p.Log.Error("reading set aside", "lane", s.lane.Name, "stream", s.stream, "seq", s.last, "err", why)
	return p.acknowledge(s.lane)
}

// unpark lets a new session try what could neither be sent nor set aside.
func (p *Pump) unpark() {
	for _, l := range p.lanes {
		for _, s := range l.spans {
			if s.parked {
				s.parked = false
				l.waiting++
			}
		}
	}
}
