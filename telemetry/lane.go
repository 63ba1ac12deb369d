package telemetry

import (
	"time"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// span is one message: readings that go, are acknowledged and are sent again together.
type span struct {
	lane        *lane
	first, last uint64
	n           int // readings
	bytes       int
	stream      string
	flight      Flight // nil = not in flight
	sent        time.Time
	landed      bool
	deaths      int  // sessions that ended while it was the oldest in flight
	guilty      int  // of them those in which it alone was in flight, after others had passed
	tries       int  // of them those in which it alone was in flight, and nothing else had passed
	parked      bool // it can neither be sent nor set aside, for now
}

// lane is a Lane in the hands of the pump.
type lane struct {
	*Lane
	spans   []*span         // begun and not forgotten, oldest first
	waiting int             // of them those that are neither in flight nor acknowledged
	ahead   []spool.Record  // read, and not in a span yet
	seen    time.Time       // when the oldest of them was read
	seq     uint64          // the newest in a span
	dry     bool            // the queue had nothing more when it was last asked
	heard   <-chan struct{} // its Ready before that
	since   int             // messages of other lanes since the last of this one
}

const (
	aheadRecords = 64
	aheadBytes   = 64 << 10
	// maxSpans bounds what waits behind one that cannot be forgotten.
	maxSpans = 1024
)

// look reads on where there may be something.
func (l *lane) look(now time.Time) {
	most := max(aheadRecords, l.Pack.Bytes/around)
	if l.dry || len(l.ahead) >= most || len(l.spans) >= maxSpans {
		return
	}
	from := l.seq
	if n := len(l.ahead); n > 0 {
		from = l.ahead[n-1].Seq
	}
	l.heard = l.Queue.Ready()
	more := l.Queue.After(from, most-len(l.ahead), max(aheadBytes, l.Pack.Bytes))
	l.dry = len(more) == 0
	if len(l.ahead) == 0 {
		l.seen = now
	}
	l.ahead = append(l.ahead, more...)
}

// ready reports whether a message of the lane can go now, else when it can though nothing new comes; zero is never.
func (l *lane) ready(now time.Time) (at time.Time, ok bool) {
	if l.resend() != nil {
		return now, true
	}
	if len(l.ahead) == 0 || l.Pack.Bytes > 0 && !l.full() {
		l.look(now)
	}
	if len(l.ahead) == 0 {
		return time.Time{}, false
	}
	if l.Pack.Age <= 0 || l.full() {
		return now, true
	}
	// By the wall clock it is the age; a clock that was set back must not hold anything for longer.
	due := l.seen.Add(l.Pack.Age)
	if aged := now.Add(l.Pack.Age - now.Round(0).Sub(l.ahead[0].Time)); aged.Before(due) {
		due = aged
	}
	return due, !due.After(now)
}

// around is about what a reading takes in a pack besides its body.
const around = 48

// full reports whether there is nothing to wait for: the oldest readings fill a message, or another stream follows.
func (l *lane) full() bool {
	size := 0
	for i := range l.ahead {
		if l.ahead[i].Stream != l.ahead[0].Stream {
			return true
		}
		if size += len(l.ahead[i].Body) + around; size >= l.Pack.Bytes {
			return true
		}
	}
	return false
}

// resend is the oldest span that is to be sent again, but for suspects.
func (l *lane) resend() *span {
	if l.waiting == 0 {
		return nil
	}
	for _, s := range l.spans {
		if s.idle() && !s.suspect() {
			return s
		}
	}
	return nil
}

func (s *span) idle() bool { return s.flight == nil && !s.landed && !s.parked }

func (s *span) arrived() { s.landed, s.flight, s.deaths, s.guilty = true, nil, 0, 0 }

// forget takes what is acknowledged off the oldest end, and returns the newest number that is; 0 is none.
func (l *lane) forget() (seq uint64) {
	n := 0
	for n < len(l.spans) && l.spans[n].landed {
		seq = l.spans[n].last
		n++
	}
	if n == 0 {
		return 0
	}
	rest := copy(l.spans, l.spans[n:])
	clear(l.spans[rest:])
	l.spans = l.spans[:rest]
	return seq
}

// fresh makes the first n of what was read ahead a span.
func (l *lane) fresh(n int, now time.Time) *span {
	s := &span{lane: l, first: l.ahead[0].Seq, last: l.ahead[n-1].Seq, n: n, stream: l.ahead[0].Stream, bytes: weigh(l.ahead[:n])}
	l.spans = append(l.spans, s)
	l.seq = s.last
	clear(l.ahead[:n])
	if l.ahead = l.ahead[n:]; len(l.ahead) == 0 {
		l.ahead = nil
	}
	l.seen = now
	return s
}

func weigh(records []spool.Record) (bytes int) {
	for i := range records {
		bytes += len(records[i].Body) + around
	}
	return bytes
}
