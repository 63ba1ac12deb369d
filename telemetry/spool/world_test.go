package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var errCut = errors.New("the power was cut")

// world runs a spool on a medium that keeps only what it was made to keep, and remembers what was promised.
type world struct {
	t   *testing.T
	rng *rand.Rand
	log []string
	dir string
	l   Limits
	s   *Spool

	steps int // until the cut; never when negative

	now   time.Time     // as it truly is
	up    time.Duration // of this life
	wrong bool          // the wall clock stands in 1970

	given    map[uint64]reading // all that were ever numbered
	promised map[uint64]bool
	tried    map[string]bool // bodies whose Put failed: they may be delivered
	doubt    map[uint64]bool // may be there or not
	poison   map[uint64]bool // set aside, and never to be seen again
	acked    uint64
	made     int  // bodies so far
	flips    int  // each may cost one reading
	blind    bool // one of them was in the cursor, which says how many numbers were given
	holes    bool // a power cut may take the beginning of a write and not its end, and so look like damage

	dirty   map[string]dirty  // files with bytes that were not synced
	cursor  []byte            // as it was synced last
	removed map[string][]byte // removals that were not synced
	renamed map[string]string // renamings that were not synced: new name to old

	recycling string
}

type reading struct {
	body string
	made time.Time
	soft bool // its number may be given again
}

// dirty is a file as it was before a write, of which the first kept bytes are promised.
type dirty struct {
	before []byte
	kept   int64
}

func newWorld(t *testing.T, seed uint64, l Limits) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: memory(t), l: l, steps: -1, holes: seed%2 == 1,
		now:   time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		given: map[uint64]reading{}, promised: map[uint64]bool{}, tried: map[string]bool{}, doubt: map[uint64]bool{}, poison: map[uint64]bool{},
		dirty: map[string]dirty{}, removed: map[string][]byte{}, renamed: map[string]string{},
	}
	w.note("seed %d limits %+v", seed, l)
	w.reopen()
	return w
}

// memory is a directory whose syncs cost nothing: what is kept is for the world to decide.
func memory(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "spool")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	if len(w.log) > 60 {
		w.log = append(w.log[:1:1], w.log[len(w.log)-59:]...)
	}
	w.t.Fatalf("%s\n%s\n%+v", strings.Join(w.log, "\n"), fmt.Sprintf(format, args...), w.s.Stats())
}

// step watches what the spool does to the medium, and cuts the power in time.
func (w *world) step(verb, path string) error {
	switch verb {
	case "append":
		if _, known := w.dirty[path]; !known {
			b, _ := os.ReadFile(path)
			w.dirty[path] = dirty{b, w.s.out.end}
		}
	case "remove":
		w.removed[path], _ = os.ReadFile(path)
	case "acked":
		if w.s.cursor.synced == w.s.cursor.saved {
			w.cursor, _ = os.ReadFile(path)
		}
	case "recycle":
		w.recycling = path
	case "recycled":
		w.renamed[path] = w.recycling
	}
	if w.steps == 0 {
		w.note("  cut at %s %s", verb, filepath.Base(path))
		return errCut
	}
	w.steps--
	switch verb {
	case "appended":
		if w.dirty[path].kept == 0 {
			w.directorySynced()
		}
		delete(w.dirty, path)
	case "has set aside":
		w.directorySynced()
	}
	return nil
}

func (w *world) directorySynced() {
	clear(w.removed)
	clear(w.renamed)
}

// put appends n readings in one commit.
func (w *world) put(n int) error {
	var rs []Reading
	for range n {
		w.made++
		body := fmt.Sprintf("reading %d %s", w.made, strings.Repeat("y", w.rng.IntN(300)))
		if w.rng.IntN(40) == 0 {
			body += strings.Repeat("z", w.rng.IntN(9000))
		}
		rs = append(rs, Reading{Stream: "s", Type: []string{"", "application/cbor"}[w.rng.IntN(2)], Body: []byte(body)})
	}
	first, err := w.s.Put(w.t.Context(), rs...)
	for i, r := range rs {
		if err != nil {
			w.tried[string(r.Body)] = true
			continue
		}
		w.give(first+uint64(i), string(r.Body))
	}
	w.keep()
	w.note("put %d: %v, first %d", n, err, first)
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrFull) && w.l.Drop != DropOldest {
		return nil
	}
	return err
}

// give takes note of a number. One is only given twice when damage took all trace of the first.
func (w *world) give(seq uint64, body string) {
	if was, twice := w.given[seq]; twice && !was.soft && !w.blind {
		w.flips--
		if w.flips < 0 {
			w.fatal("number %d was given twice", seq)
		}
	}
	// A medium that takes nothing is not waited for: then the time tells one reading from another of its number.
	soft := seq >= w.s.cursor.reserved && w.l.Within > 0
	w.given[seq] = reading{body, w.now, soft}
	delete(w.doubt, seq)
}

// keep takes note of what is on the medium now.
func (w *world) keep() {
	for seq := range w.given {
		if seq < w.s.at.written {
			w.promised[seq] = true
		}
	}
}

// flush writes what is in memory, as the timer would.
func (w *world) flush() error {
	w.s.turn <- struct{}{}
	err := w.s.flush()
	<-w.s.turn
	w.keep()
	w.note("flush: %v", err)
	if errors.Is(err, ErrFull) && w.l.Drop != DropOldest {
		return nil
	}
	return err
}

// ack acknowledges some of what waits.
func (w *world) ack() error {
	got := w.s.Peek(1 + w.rng.IntN(300))
	if len(got) == 0 {
		return nil
	}
	seq := got[w.rng.IntN(len(got))].Seq
	err := w.s.Ack(seq)
	w.acked = max(w.acked, seq)
	w.note("ack %d: %v", seq, err)
	return err
}

// aside sets one of those that wait aside.
func (w *world) aside() error {
	got := w.s.Peek(1 + w.rng.IntN(20))
	if len(got) == 0 {
		return nil
	}
	seq := got[w.rng.IntN(len(got))].Seq
	err := w.s.Aside(seq)
	w.note("aside %d: %v", seq, err)
	if err == nil && w.l.MaxBytes == 0 {
		w.poison[seq] = true
	}
	w.doubt[seq] = true
	return err
}

// pass lets time pass, and sometimes sets the clock.
func (w *world) pass() {
	d := time.Duration(w.rng.Int64N(int64(w.l.TTL / 2)))
	w.now, w.up = w.now.Add(d), w.up+d
	if w.rng.IntN(3) == 0 {
		w.wrong = !w.wrong
	}
	w.note("%v later, clock %v", d, w.clock())
}

func (w *world) clock() time.Time {
	if w.wrong {
		return time.Unix(0, 0).Add(w.up)
	}
	return w.now
}

// reopen starts a new life on what the medium holds.
func (w *world) reopen() {
	if w.s != nil {
		w.s.head.close()
		w.s.cursor.close()
		w.s.end()
		if w.s.ram.timer != nil {
			w.s.ram.timer.Stop()
		}
	}
	s, err := Open(w.dir, w.l, w.step)
	if err != nil {
		w.fatal("open: %v", err)
	}
	w.s, w.up = s, 0
	for seq := range w.given {
		if !w.promised[seq] {
			w.doubt[seq] = true // only memory had it
		}
	}
	s.clock.read = func() (time.Time, time.Duration) { return w.clock(), w.up }
	s.clock.eras = nil
	s.clock.look(s.next)
	if n := len(s.segs); n > 0 { // Open made sure of these
		delete(w.dirty, s.segs[n-1].path)
		w.directorySynced()
	}
	w.note("open: %d…%d, written to %d", s.at.acked+1, s.next-1, s.at.written-1)
}
