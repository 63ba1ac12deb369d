package spool

import (
	"os"
	"slices"
	"sort"
)

// windowBytes bounds what of the queue is held in memory.
const windowBytes = 1 << 20

// reader walks the queue and holds the part that is asked for next.
type reader struct {
	window []Record // in order; all of low … seq-1 that are not absent
	bytes  int      // of the window
	low    uint64
	seq    uint64   // the number that is looked for next
	seg    *segment // where it is looked for; nil: not known yet
	off    int64
	file   *os.File
	scan   scanner
}

func (h *reader) close() {
	if h.file != nil {
		_ = h.file.Close()
	}
	h.file, h.seg = nil, nil
}

// behind is the index of the first record in the window whose number is above seq.
func (h *reader) behind(seq uint64) int {
	return sort.Search(len(h.window), func(i int) bool { return h.window[i].Seq > seq })
}

// push takes records that were just written, when the reader has all before them and room for them. Those before
// them end at written.
func (h *reader) push(rs []Record, g *segment, written uint64) {
	if h.seq < written {
		return
	}
	n := 0
	for len(rs) > 0 && rs[0].Seq < h.seq { // acknowledged while they were being written
		rs = rs[1:]
	}
	for _, r := range rs {
		n += frameSize(r)
	}
	if len(rs) == 0 || h.bytes+n > windowBytes {
		return
	}
	h.window = append(h.window, rs...)
	h.bytes += n
	h.seq = rs[len(rs)-1].Seq + 1
	h.close()
	h.seg, h.off = g, g.size
}

// drop lets go of the window up to and including seq.
func (h *reader) drop(seq uint64) {
	n := 0
	for n < len(h.window) && h.window[n].Seq <= seq {
		h.bytes -= frameSize(h.window[n])
		n++
	}
	clear(h.window[:n]) // the bodies are not to be held by what is left of the array
	h.window = h.window[n:]
	if len(h.window) == 0 {
		h.window = nil
	}
	h.low = max(h.low, seq+1)
	if h.seq < h.low {
		h.close()
		h.seq = h.low
	}
}

// sift lets go of what is absent.
func (h *reader) sift(a *absence) {
	h.window = slices.DeleteFunc(h.window, func(r Record) bool {
		gone := a.has(r.Seq)
		if gone {
			h.bytes -= frameSize(r)
		}
		return gone
	})
}

// turn makes the window begin at seq.
func (h *reader) turn(seq uint64) {
	h.close()
	h.window, h.bytes, h.low, h.seq = nil, 0, seq, seq
}

// trim makes room in a full window by letting go of what the caller has already.
func (h *reader) trim(seq uint64) {
	if h.bytes < windowBytes {
		return
	}
	keep := h.bytes / 2
	for n, r := range h.window {
		if r.Seq > seq || h.bytes <= keep {
			clear(h.window[:n])
			h.window, h.low = h.window[n:], r.Seq
			return
		}
		h.bytes -= frameSize(r)
	}
	h.window, h.low = nil, h.seq
}

// seek opens the segment that the next number is in; false when it cannot be looked into now.
func (s *Spool) seek() bool {
	h, g := &s.head, s.segmentOf(s.head.seq)
	if g != h.seg {
		h.close()
		h.seg, h.off = g, headSize
	}
	if h.file == nil && !s.openHead() {
		return false
	}
	h.scan.end = g.size
	return true
}

func (s *Spool) openHead() bool {
	h := &s.head
	h.scan = scanner{key: s.key, src: empty{}, off: h.off}
	f, err := os.Open(h.seg.path)
	if err == nil {
		h.file, h.scan.src = f, f
	}
	return err == nil || unreadable(err)
}

// empty stands for a file that cannot be read any more.
type empty struct{}

func (empty) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// leave goes on to the next segment; false when it cannot be looked into now. Numbers that this one should have held
// are lost, unless the next one says that they never were here.
func (s *Spool) leave() bool {
	h := &s.head
	end := s.endOf(h.seg)
	gap, ok := s.gapBefore(end)
	if !ok {
		return false
	}
	if from := max(h.seq, end-min(gap, end)); from < end {
		s.absent.add(from, end-1, void)
	}
	if from := end - min(gap, end); h.seq < from {
		h.seg.lost = true
		s.absent.add(h.seq, from-1, lost)
	}
	h.seq = end
	if end < s.at.written {
		h.close()
	}
	s.skip()
	return true
}

// gapBefore is how many numbers before end were never on the medium, as the segment that begins with end says.
func (s *Spool) gapBefore(end uint64) (n uint64, ok bool) {
	i := s.after(end) - 1
	g := s.segs[max(i, 0)]
	if g.base != end {
		return 0, true
	}
	if !g.known {
		head, good, err := g.readHead()
		if err != nil {
			return 0, false
		}
		if good && head.base == g.base {
			g.gap = head.gap
		}
		g.known = true
	}
	if n = uint64(g.gap &^ recycled); n == anyGap {
		n = end
	}
	return n, true
}

// segmentOf returns the segment that holds seq: the newest whose base is not above it. What older ones hold of
// the same number was never promised.
func (s *Spool) segmentOf(seq uint64) *segment { return s.segs[s.after(seq)-1] }

// endOf is the number at which g ends: the base of the segment after it, or the number that is written next.
func (s *Spool) endOf(g *segment) uint64 {
	if i := s.after(g.base); i < len(s.segs) {
		return s.segs[i].base
	}
	return s.at.written
}

// after is the index of the first segment whose base is above seq.
func (s *Spool) after(seq uint64) int {
	return sort.Search(len(s.segs), func(i int) bool { return s.segs[i].base > seq })
}
