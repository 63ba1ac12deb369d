package spool

import "time"

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
		if body := string(r.Body); w.given[r.Seq].body != body {
			if !w.tried[body] {
				w.fatal("reading %d is %.30q, given was %.30q", r.Seq, body, w.given[r.Seq].body)
			}
			w.give(r.Seq, body)
			delete(w.tried, body)
		}
		if w.poison[r.Seq] && w.flips == 0 {
			w.fatal("reading %d is here again", r.Seq)
		}
	}
	st := w.s.Stats()
	if st.Depth != uint64(len(got)) {
		w.fatal("%d wait", len(got))
	}
	w.keep()
	w.account(found, st)
	w.window(got)
}

// window demands that After gives the same as Peek, wherever it begins.
func (w *world) window(all []Record) {
	for range 3 {
		if len(all) == 0 {
			return
		}
		i := w.rng.IntN(len(all))
		got := w.s.After(all[i].Seq, 5, 1<<20)
		want := all[i+1 : min(len(all), i+6)]
		if len(got) != len(want) {
			w.fatal("%d after %d, want %d", len(got), all[i].Seq, len(want))
		}
		for j := range got {
			if got[j].Seq != want[j].Seq || string(got[j].Body) != string(want[j].Body) {
				w.fatal("%d after %d, want %d", got[j].Seq, all[i].Seq, want[j].Seq)
			}
		}
	}
}

// account demands that whatever is missing was counted.
func (w *world) account(found map[uint64]bool, st Stats) {
	missing := 0
	for seq, r := range w.given {
		old := w.l.TTL > 0 && w.now.Sub(r.made) > w.l.TTL-time.Minute
		if seq > w.acked && !found[seq] && !old && !w.doubt[seq] && (w.promised[seq] || w.held(seq)) {
			missing++
		}
	}
	if missing > int(st.Dropped)+w.flips {
		w.fatal("%d promised readings are missing, %d damaged at most", missing, w.flips)
	}
	if w.flips == 0 && !w.holes && st.Damaged != 0 {
		w.fatal("%d are damaged, and nothing was", st.Damaged)
	}
	if w.l.Drop != DropOldest && st.Dropped != 0 || w.l.TTL == 0 && st.Expired != 0 {
		w.fatal("dropped or expired")
	}
}

// held reports whether memory has seq.
func (w *world) held(seq uint64) bool {
	m := w.s.ram.behind(seq - 1)
	return len(m) > 0 && m[0].Seq == seq && !w.s.absent.has(seq)
}
