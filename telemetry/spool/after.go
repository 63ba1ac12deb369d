package spool

// demand is what a caller wants to have: what follows seq, at most so many records or about so many bytes.
type demand struct {
	seq         uint64
	most, bytes int
}

// Peek returns up to most of the oldest readings that are not acknowledged, oldest first, and at least one when
// one waits. It returns fewer when they are large: about 1 MB is held in memory. It returns none although some
// wait when the files cannot be opened now (no file descriptors are left); time heals that. The caller may keep
// the records, and must not change them.
func (s *Spool) Peek(most int) []Record { return s.After(0, most, windowBytes) }

// After is Peek from the first reading above seq on, and returns about so many bytes of bodies: at least one reading
// when one waits. It costs little to ask again and again with a rising seq while Ack follows behind, whatever waits
// on the medium. Going back behind what was acknowledged last costs reading a segment anew.
func (s *Spool) After(seq uint64, most int, bytes int) []Record {
	d := demand{seq, most, bytes}
	for most > 0 && seq < highest {
		for s.fill(d) {
		}
		out, again := s.pick(d)
		if len(out) > 0 || !again {
			return out
		}
	}
	return nil
}

// pick returns what is in memory; again says that some of that has expired, so that there may be more behind.
func (s *Spool) pick(d demand) (out []Record, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.signal()
	d.seq = max(d.seq, s.at.acked)
	h, first := &s.head, d.seq+1
	if h.low <= first && first <= h.seq {
		out, again = s.take(out, h.window[h.behind(d.seq):], &d)
		first = h.seq
	}
	if first >= s.at.written {
		out, _ = s.take(out, s.ram.behind(d.seq), &d)
	}
	if again {
		h.sift(&s.absent)
		s.skip()
	}
	return out, again
}

// take adds to out what of rs is wanted; stale says that some of it is not to be sent. The caller holds mu.
func (s *Spool) take(out, rs []Record, d *demand) (_ []Record, stale bool) {
	for _, r := range rs {
		if s.stale(r) {
			stale = true
			continue
		}
		if len(out) == d.most || len(out) > 0 && d.bytes < len(r.Body) {
			d.most = len(out)
			break
		}
		out, d.bytes = append(out, r), d.bytes-len(r.Body)
	}
	return out, stale
}

// stale reports whether r is not to be sent: it is absent, or has just expired. The caller holds mu.
func (s *Spool) stale(r Record) bool {
	if len(s.absent.spans) > 0 && s.absent.has(r.Seq) {
		return true
	}
	if s.limits.TTL == 0 || s.clock.age(r.Seq, r.Time.UnixNano(), s.clock.look(s.next)) <= s.limits.TTL {
		return false
	}
	s.absent.add(r.Seq, r.Seq, expired)
	return true
}

// skip puts the numbers behind that need no acknowledgement. What the medium lost waits for one: it is noted with
// the readings around it. The caller holds mu.
func (s *Spool) skip() {
	for len(s.absent.spans) > 0 {
		first := s.absent.spans[0]
		if first.from != s.at.acked+1 || first.why == lost {
			return
		}
		s.forget(first.to)
	}
}

// fill reads about one chunk more into the window, and reports whether it makes sense to read another. The lock
// is given back in between, so that an Append waits for one chunk and not for a megabyte.
func (s *Spool) fill(d demand) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.signal()
	d.seq = max(d.seq, s.at.acked)
	if d.seq+1 >= s.at.written {
		return false // the rest is in memory
	}
	h := &s.head
	if d.seq+1 < h.low || d.seq+1 > h.seq {
		h.turn(d.seq + 1)
	}
	h.trim(d.seq)
	have := h.window[h.behind(d.seq):]
	n, bytes := len(have), 0
	for i := 0; i < n && n < d.most; i++ {
		bytes += len(have[i].Body)
	}
	for read := 0; read < chunk; {
		if s.closed || n >= d.most || n > 0 && (bytes >= d.bytes || h.bytes >= windowBytes) || h.seq >= s.at.written || !s.seek() {
			return false
		}
		r, ok := h.scan.next(h.seq, s.endOf(h.seg))
		if !ok {
			if !s.leave() {
				return false
			}
			continue
		}
		if r.Seq > h.seq {
			h.seg.lost = true
			s.absent.add(h.seq, r.Seq-1, lost)
		}
		h.seq, h.off, read = r.Seq+1, h.scan.off, read+frameSize(r)
		if s.stale(r) {
			s.skip()
			continue
		}
		h.window, h.bytes = append(h.window, r), h.bytes+frameSize(r)
		n, bytes = n+1, bytes+len(r.Body)
	}
	return true
}
