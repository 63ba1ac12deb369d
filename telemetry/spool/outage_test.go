package spool

import (
	"os"
	"path/filepath"
)

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
