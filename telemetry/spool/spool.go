package spool

import (
	"path/filepath"
	"sync"

	"github.com/devid-agent/devid-agent/internal/durable"
)

// Spool is an open queue. Its methods may be called side by side.
//
// Locks are taken in the order turn, cursor.mu, mu. The first two are held while the medium works; mu only
// guards memory, and a read of one chunk.
type Spool struct {
	dir    string
	limits Limits
	step   durable.Step
	id     id
	key    key
	turn   chan struct{} // whoever has put something in writes a commit
	out    *output       // of whoever has the turn
	cursor cursor
	meter  meter

	mu      sync.Mutex
	closed  bool
	batch   *batch
	at      position
	next    uint64     // the number that is given next
	numbers uint64     // those below may be given to what only memory has
	absent  absence    // above at.acked
	segs    []*segment // oldest first; the newest is never removed, so that the numbers go on, and the idle ones are used again
	aside   []*segment
	poison  []*segment
	head    reader
	ram     ram
	clock   clock
	torn    int64
	ready   chan struct{}
	open    bool // ready is not closed yet
}

// Open finds what was promised under dir. It changes nothing there, so that it also serves on a read-only file
// system; what it did not finish reading is checked when its turn comes, so that it takes the same time whatever
// waits.
func Open(dir string, l Limits, step durable.Step) (*Spool, error) {
	inv, err := list(dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{
		dir: dir, limits: l.filled(), step: step,
		turn: make(chan struct{}, 1), ready: make(chan struct{}), open: true,
		segs: inv.segments, aside: inv.aside, poison: inv.poison, clock: newClock(),
	}
	s.meter.budget = s.limits.Budget
	s.cursor = cursor{path: s.path(cursorName), step: step, meter: &s.meter}
	if s.limits.Within > 0 {
		s.cursor.ahead = ahead
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	s.clock.look(s.next)
	s.signal()
	return s, nil
}

func (s *Spool) path(name string) string { return filepath.Join(s.dir, name) }

// ID names the spool for good. A number of one spool is not the same number of another, so a message is
// named by both.
func (s *Spool) ID() string { return s.id.String() }

// Ready returns a channel that is closed as soon as there is something to Peek. When all was acknowledged, ask
// for a new one. It may close for a reading that turns out to be damaged, so a Peek may still come back empty.
func (s *Spool) Ready() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// signal makes the channel say whether something waits. The caller holds mu.
func (s *Spool) signal() {
	waiting := s.depth() > 0
	switch {
	case waiting && s.open:
		close(s.ready)
		s.open = false
	case !waiting && !s.open:
		s.ready, s.open = make(chan struct{}), true
	}
}

// depth is how many readings wait, as far as is known. The caller holds mu.
func (s *Spool) depth() uint64 { return s.next - 1 - s.at.acked - s.absent.n.total() }

// shut reports whether the files are another's by now.
func (s *Spool) shut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close writes what lives in memory, and gives back what the spool holds. Where Limits.Within is 0 it is not needed
// for correctness: it only saves some repeats.
func (s *Spool) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.ram.timer != nil {
		s.ram.timer.Stop()
	}
	s.mu.Unlock()
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	err := s.flush()
	s.end()
	s.cursor.mu.Lock()
	defer s.cursor.mu.Unlock()
	s.cursor.ahead = 0 // after this there is nothing that only memory has
	if e := s.settleNow(true); err == nil {
		err = e
	}
	s.cursor.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.head.close()
	return err
}
