package spool

import (
	"bytes"
	"os"
	"path/filepath"
)

// powerCut takes from the medium what it was not made to keep, in one of the ways in which that happens.
func (w *world) powerCut() {
	for path, d := range w.dirty {
		w.mangle(path, d)
	}
	clear(w.dirty)
	switch path := filepath.Join(w.dir, cursorName); w.rng.IntN(4) {
	case 0:
		if w.cursor != nil {
			w.write(path, w.cursor)
		}
	case 1: // the slot that was not synced last is torn
		w.tear(path, w.s.cursor.slot*slotApart)
	}
	for path := range w.renamed {
		if w.rng.IntN(3) == 0 {
			w.rename(path)
		}
	}
	clear(w.renamed)
	for path, b := range w.removed {
		if w.rng.IntN(3) == 0 {
			w.write(path, b)
			w.note("  %s is back", filepath.Base(path))
		}
	}
	clear(w.removed)
	w.steps = -1
	w.reopen()
	w.repeats()
}

// repeats demands that a power cut brings few acknowledged readings back.
func (w *world) repeats() {
	n := 0
	for _, r := range w.s.Peek(1 << 20) {
		if r.Seq <= w.acked {
			n++
		}
	}
	if n > cursorEvery && w.l.MaxBytes == 0 && w.flips == 0 {
		w.fatal("%d acknowledged readings are repeated", n)
	}
}

// rename undoes a renaming.
func (w *world) rename(path string) {
	if old := w.renamed[path]; old != "" && os.Rename(path, old) == nil {
		w.note("  %s is %s again", filepath.Base(path), filepath.Base(old))
	}
	delete(w.renamed, path)
}

// mangle leaves a file as a power cut may leave it: what was promised is there, and of the rest any part.
func (w *world) mangle(path string, d dirty) {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < d.kept {
		return
	}
	old := append(bytes.Clone(d.before), make([]byte, max(0, len(b)-len(d.before)))...)
	from, tail := int(d.kept), b[d.kept:]
	part := w.rng.IntN(len(tail) + 1)
	modes := 4
	if w.holes {
		modes = 6
	}
	switch w.rng.IntN(modes) {
	case 0: // nothing came
		b = append(b[:from:from], d.before[min(from, len(d.before)):]...)
	case 1: // the beginning came, and the length
		copy(tail[part:], old[from+part:])
	case 2: // the beginning came, and not the length
		b = append(b[:from+part:from+part], d.before[min(from+part, len(d.before)):]...)
	case 4: // the end came, the beginning did not
		copy(tail[:part], old[from:])
	case 5: // some pages came
		for at := from; at < len(b); {
			to := min(len(b), (at/512+1)*512)
			if w.rng.IntN(2) == 0 {
				copy(b[at:to], old[at:to])
			}
			at = to
		}
	}
	w.write(path, b)
	if d.kept == 0 && w.rng.IntN(4) == 0 { // nor was the directory synced
		if _, ok := w.renamed[path]; ok {
			w.rename(path)
		} else {
			_ = os.Remove(path)
		}
	}
}

func (w *world) tear(path string, from int64) {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < from+slotBytes+moreBytes {
		return
	}
	for i := range slotBytes + moreBytes {
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
		path, w.blind = filepath.Join(w.dir, cursorName), true
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
