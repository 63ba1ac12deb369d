package spool

import (
	"path/filepath"
	"sync"

	"github.com/devid-agent/devid-agent/internal/durable"
)

// Limits bound the spool. Zero values mean the defaults.
type Limits struct {
	// MaxBytes is what the spool takes on disk: 64 MiB. Beyond it the oldest segment is dropped, and its
	// readings are counted in Stats.Dropped.
	MaxBytes int64
	// SegmentBytes is the size of a file and so the grain in which room is given back: 1 MiB, and at most an
	// eighth of MaxBytes.
	SegmentBytes int64
}

func (l Limits) filled() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = 64 << 20
	}
	if l.SegmentBytes <= 0 {
		l.SegmentBytes = 1 << 20
	}
	l.SegmentBytes = max(min(l.SegmentBytes, l.MaxBytes/8), page)
	return l
}

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

	mu     sync.Mutex
	closed bool
	batch  *batch
	at     position
	segs   []*segment // oldest first; the newest is never removed, so that the numbers go on
	aside  []*segment
	head   reader
	torn   int64
	ready  chan struct{}
	open   bool // ready is not closed yet
}

// Stats is the state of the spool in numbers.
type Stats struct {
	ID       string
	Depth    uint64 // readings that wait for the hub
	Bytes    int64  // on disk
	FirstSeq uint64 // the oldest that waits, 0 when none does
	LastSeq  uint64 // the newest that was promised
	Acked    uint64 // all up to here are forgotten
	Dropped  uint64 // never delivered, for want of room, since the spool was made
	Damaged  uint64 // lost because the medium did, since the spool was made: found when their turn comes
	Torn     int64  // bytes behind the last reading at Open: an Append that the power cut, or damage
	Aside    int    // damaged segments that were kept as *.bad
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
		segs: inv.segments, aside: inv.aside,
		cursor: cursor{path: filepath.Join(dir, cursorName), step: step},
	}
	if err := s.recover(); err != nil {
		return nil, err
	}
	s.signal()
	return s, nil
}

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
	waiting := len(s.head.window) > 0 || s.head.seq < s.at.next
	switch {
	case waiting && s.open:
		close(s.ready)
		s.open = false
	case !waiting && !s.open:
		s.ready, s.open = make(chan struct{}), true
	}
}

// Stats returns the state as of now.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.head.gone(s.at.acked)
	t := Stats{
		ID: s.id.String(), Depth: s.at.next - 1 - s.at.acked - gone, Bytes: s.bytes(),
		LastSeq: s.at.next - 1, Acked: s.at.acked, Dropped: s.at.dropped, Damaged: s.at.damaged + gone,
		Torn: s.torn, Aside: len(s.aside),
	}
	switch {
	case len(s.head.window) > 0:
		t.FirstSeq = s.head.window[0].Seq
	case t.Depth > 0:
		t.FirstSeq = s.head.seq
	}
	return t
}

// bytes is what the files take, as far as they are known. The caller holds mu.
func (s *Spool) bytes() (n int64) {
	for _, g := range s.segs {
		n += g.disk
	}
	for _, g := range s.aside {
		n += g.disk
	}
	return n
}

// Close gives back what the spool holds. It is not needed for correctness: it only saves some repeats.
func (s *Spool) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	s.closed = true
	s.head.close()
	s.mu.Unlock()
	if s.out != nil {
		_ = s.out.file.Close() // all that was promised is on the medium
		s.out = nil
	}
	err := s.settle(true)
	s.cursor.mu.Lock()
	defer s.cursor.mu.Unlock()
	s.cursor.close()
	return err
}
