package spool

import (
	"os"
	"slices"
	"sort"
)

// windowBytes bounds what of the queue is held in memory.
const windowBytes = 1 << 20

// reader walks the queue from the oldest reading on and holds the part that is asked for next.
type reader struct {
	window []Record // in order; all that was found in (acked, seq)
	bytes  int      // of the window
	seq    uint64   // the number that is looked for next
	seg    *segment // where it is looked for; nil: not known yet
	off    int64
	file   *os.File
	scan   scanner
}

// gone is how many of the numbers that the reader has passed were not there.
func (h *reader) gone(acked uint64) uint64 { return h.seq - 1 - acked - uint64(len(h.window)) }

func (h *reader) close() {
	if h.file != nil {
		_ = h.file.Close()
	}
	h.file, h.seg = nil, nil
}

// push takes records that were just promised, when the reader has all before them and room for them.
func (h *reader) push(rs []Record, g *segment) {
	n := 0
	for _, r := range rs {
		n += frameSize(r)
	}
	if h.seq != rs[0].Seq || h.bytes+n > windowBytes {
		return
	}
	h.window = append(h.window, rs...)
	h.bytes += n
	h.seq = rs[len(rs)-1].Seq + 1
	h.close()
	h.seg, h.off = g, g.size
}

// drop lets go of the window up to and including seq, and returns how many that were.
func (h *reader) drop(seq uint64) (n int) {
	for n < len(h.window) && h.window[n].Seq <= seq {
		h.bytes -= frameSize(h.window[n])
		n++
	}
	clear(h.window[:n]) // the bodies are not to be held by what is left of the array
	h.window = h.window[n:]
	if len(h.window) == 0 {
		h.window = nil
	}
	return n
}

// Peek returns up to most of the oldest readings that are not acknowledged, oldest first, and at least one when
// one waits. It returns fewer when they are large: about 1 MB is held in memory. It returns none although some
// wait when the files cannot be opened now (no file descriptors are left); time heals that. The caller may keep
// the records, and must not change them.
func (s *Spool) Peek(most int) []Record {
	for s.fill(most) {
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.head.window[:min(max(most, 0), len(s.head.window))])
}

// fill reads about one chunk more into the window, and reports whether it makes sense to read another. The lock
// is given back in between, so that an Append waits for one chunk and not for a megabyte.
func (s *Spool) fill(most int) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.signal()
	h := &s.head
	for from := h.bytes; h.bytes < from+chunk; {
		if s.closed || len(h.window) >= most || h.bytes >= windowBytes || h.seq >= s.at.next || !s.seek() {
			return false
		}
		r, ok := h.scan.next(h.seq, s.endOf(h.seg))
		if !ok {
			s.leave()
			continue
		}
		h.seg.lost = h.seg.lost || r.Seq > h.seq
		h.window, h.bytes, h.seq, h.off = append(h.window, r), h.bytes+frameSize(r), r.Seq+1, h.scan.off
	}
	return true
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

// leave goes on to the next segment. Numbers that this one should have held are lost: they are counted at once, and
// put behind with the next reading that is acknowledged.
func (s *Spool) leave() {
	h := &s.head
	end := s.endOf(h.seg)
	h.seg.lost = h.seg.lost || h.seq < end
	h.seq = end
	if end < s.at.next {
		h.close()
	}
}

// segmentOf returns the segment that holds seq: the newest whose base is not above it. What older ones hold of
// the same number was never promised.
func (s *Spool) segmentOf(seq uint64) *segment { return s.segs[s.after(seq)-1] }

// endOf is the number at which g ends: the base of the segment after it, or the number that comes next.
func (s *Spool) endOf(g *segment) uint64 {
	if i := s.after(g.base); i < len(s.segs) {
		return s.segs[i].base
	}
	return s.at.next
}

// after is the index of the first segment whose base is above seq.
func (s *Spool) after(seq uint64) int {
	return sort.Search(len(s.segs), func(i int) bool { return s.segs[i].base > seq })
}
