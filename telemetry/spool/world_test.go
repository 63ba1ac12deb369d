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

// powerCut takes from the medium what it was not made to keep, in one of the ways in which that happens.
func (w *world) powerCut() {
	for path, kept := range w.durable {
		w.mangle(path, kept)
	}
	clear(w.durable)
	switch path := filepath.Join(w.dir, cursorName); w.rng.IntN(4) {
	case 0:
		if w.cursor != nil {
			w.write(path, w.cursor)
		}
	case 1: // the slot that was not synced last is torn
		w.tear(path, w.s.cursor.slot*slotApart)
	}
	for path, b := range w.removed {
		if w.rng.IntN(3) == 0 {
			w.write(path, b)
			w.note("  %s is back", filepath.Base(path))
		}
	}
	w.steps = -1
	w.reopen()
	if got := w.s.Peek(1); len(got) > 0 && got[0].Seq+cursorEvery <= w.acked && w.l.MaxBytes == 0 && w.flips == 0 {
		w.fatal("%d acknowledged readings are repeated", w.acked-got[0].Seq+1)
	}
}

func (w *world) mangle(path string, kept int64) {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < kept {
		return
	}
	switch tail := b[kept:]; w.rng.IntN(5) {
	case 0:
		b = b[:kept]
	case 1:
		b = b[:int(kept)+w.rng.IntN(len(tail)+1)]
	case 2:
		clear(tail[w.rng.IntN(len(tail)+1):])
	case 3: // the end came, the beginning did not
		clear(tail[:w.rng.IntN(len(tail)+1)])
	}
	if kept == 0 && w.rng.IntN(4) == 0 {
		_ = os.Remove(path) // nor was the directory synced
		return
	}
	w.write(path, b)
}

func (w *world) tear(path string, from int64) {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < from+slotBytes {
		return
	}
	for i := range slotBytes {
		b[int(from)+i] = byte(w.rng.Uint32())
	}
	w.write(path, b)
}

func (w *world) write(path string, b []byte) {
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// flip turns one bit of what is promised, or of the cursor.
func (w *world) flip() {
	w.reopen()
	w.check()
	w.s.mu.Lock()
	g := w.s.segs
	w.s.mu.Unlock()
	if len(g) == 0 {
		return
	}
	path := g[w.rng.IntN(len(g))].path
	if w.rng.IntN(5) == 0 {
		path = filepath.Join(w.dir, cursorName)
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return
	}
	at := w.rng.IntN(len(b))
	b[at] ^= 1 << w.rng.IntN(8)
	w.write(path, b)
	w.flips++
	w.note("flip in byte %d of %s", at, filepath.Base(path))
	w.reopen()
}
