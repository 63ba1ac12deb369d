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

	promised map[uint64]string // number to body, of all that were promised or seen
	tried    map[string]bool   // bodies whose Append failed: they may be delivered
	acked    uint64
	made     int // bodies so far
	flips    int // each may cost one reading

	durable map[string]int64  // files with bytes that were not synced: up to where they were
	cursor  []byte            // as it was synced last
	removed map[string][]byte // removals that were not synced
}

func newWorld(t *testing.T, seed uint64, l Limits) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: memory(t), l: l, steps: -1,
		promised: map[uint64]string{}, tried: map[string]bool{},
		durable: map[string]int64{}, removed: map[string][]byte{},
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

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

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
		if _, dirty := w.durable[path]; !dirty {
			w.durable[path] = w.s.out.end
		}
	case "remove":
		w.removed[path], _ = os.ReadFile(path)
	}
	if w.steps == 0 {
		w.note("  cut at %s %s", verb, filepath.Base(path))
		return errCut
	}
	w.steps--
	switch verb {
	case "appended":
		if w.durable[path] == 0 {
			clear(w.removed) // the directory was synced
		}
		delete(w.durable, path)
	case "acked":
		if w.s.cursor.synced == w.s.cursor.saved {
			w.cursor, _ = os.ReadFile(path)
		}
	}
	return nil
}

// put appends n readings in one commit.
func (w *world) put(n int) error {
	var b *batch
	var entries []*entry
	for range n {
		w.made++
		body := fmt.Sprintf("reading %d %s", w.made, strings.Repeat("y", w.rng.IntN(300)))
		if w.rng.IntN(40) == 0 {
			body += strings.Repeat("z", w.rng.IntN(9000))
		}
		e := &entry{Record: Record{Time: time.Now(), Stream: "s", Body: []byte(body)}}
		entries = append(entries, e)
		b = w.s.join(e)
	}
	w.s.turn <- struct{}{}
	w.s.lead(b)
	<-w.s.turn
	for _, e := range entries {
		if b.err != nil {
			w.tried[string(e.Body)] = true
			continue
		}
		w.promise(e.Seq, string(e.Body))
	}
	w.note("put %d: %v, last %d", n, b.err, entries[n-1].Seq)
	return b.err
}

// promise takes note of a reading. A number is only given twice when damage took all trace of the first.
func (w *world) promise(seq uint64, body string) {
	if _, twice := w.promised[seq]; twice {
		w.flips--
		if w.flips < 0 {
			w.fatal("number %d was given twice", seq)
		}
	}
	w.promised[seq] = body
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

// check compares what waits with what was promised.
func (w *world) check() {
	got := w.s.Peek(1 << 20)
	found := map[uint64]bool{}
	last := uint64(0)
	for _, r := range got {
		if r.Seq <= last {
			w.fatal("reading %d after %d", r.Seq, last)
		}
		last = r.Seq
		found[r.Seq] = true
		if body := string(r.Body); w.promised[r.Seq] != body {
			if !w.tried[body] {
				w.fatal("reading %d is %.30q, promised was %.30q", r.Seq, body, w.promised[r.Seq])
			}
			w.promise(r.Seq, body)
			delete(w.tried, body)
		}
	}
	st := w.s.Stats()
	if st.Depth != uint64(len(got)) {
		w.fatal("%d wait", len(got))
	}
	w.account(found, st)
}

// account demands that whatever is missing was counted.
func (w *world) account(found map[uint64]bool, st Stats) {
	missing := 0
	for seq := range w.promised {
		if seq > w.acked && !found[seq] {
			missing++
		}
	}
	if missing > int(st.Dropped)+w.flips {
		w.fatal("%d promised readings are missing, %d damaged at most", missing, w.flips)
	}
}

// reopen starts a new life on what the medium holds.
func (w *world) reopen() {
	if w.s != nil {
		w.s.head.close()
		w.s.cursor.close()
		if w.s.out != nil {
			_ = w.s.out.file.Close()
		}
	}
	s, err := Open(w.dir, w.l, w.step)
	if err != nil {
		w.fatal("open: %v", err)
	}
	w.s = s
	if n := len(s.segs); n > 0 { // Open made sure of these
		delete(w.durable, s.segs[n-1].path)
		clear(w.removed)
	}
	w.note("open: %d…%d", s.at.acked+1, s.at.next-1)
}
