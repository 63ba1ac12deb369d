package spool

import (
	"bytes"
	"crypto/rand"
	"os"
)

// recover finds out which spool this is, which numbers are behind it, and where the next one goes.
func (s *Spool) recover() error {
	last, hasCursor := s.cursor.load()
	known, err := s.identify()
	if err != nil {
		return err
	}
	switch {
	case known && hasCursor && last.id != s.id:
		hasCursor = false // of a spool that was here before
	case !known && hasCursor:
		s.id = last.id
	case !known:
		_, _ = rand.Read(s.id[:])
	}
	s.key, s.cursor.id = newKey(s.id), s.id
	s.at = position{written: 1}
	if hasCursor {
		s.cursor.adopt(last)
		s.at = last.position
	}
	if len(s.segs) > 0 {
		// Segments are removed oldest first and only when nobody waits for them: the oldest one's base is a
		// cursor too.
		s.at.acked = max(s.at.acked, s.segs[0].base-1)
		if err := s.measureNewest(hasCursor); err != nil {
			return err
		}
	}
	s.goOn()
	return nil
}

// goOn places the next number behind all that were ever given.
func (s *Spool) goOn() {
	at := &s.at
	if len(s.segs) == 0 && at.acked+1 < at.written {
		at.damaged += at.written - 1 - at.acked // somebody removed them
		at.acked = at.written - 1
	}
	s.next = max(s.next, at.written, at.acked+1, s.cursor.reserved)
	s.absent.add(max(at.written, at.acked+1), s.next-1, void) // of what memory held, nothing is left
	s.head.low, s.head.seq = at.acked+1, at.acked+1
	for _, g := range s.poison {
		if at.acked < g.base && g.base < s.next && s.holdsPoison(g) {
			s.absent.add(g.base, g.base, poisoned)
		}
	}
	s.skip()
}

// identify takes the id from the newest segment that can still say it.
func (s *Spool) identify() (known bool, err error) {
	for i := len(s.segs) - 1; i >= 0; i-- {
		h, ok, err := s.segs[i].readHead()
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		if h.version != version {
			return false, newer(s.segs[i].path, h.version)
		}
		s.id = h.id
		return true, nil
	}
	return false, nil
}

// measureNewest finds the end of the newest segment, and so of what is written. Whatever lies behind that was never
// promised, or is damaged beyond telling.
func (s *Spool) measureNewest(hasCursor bool) error {
	g := s.segs[len(s.segs)-1]
	s.next = g.base
	m, err := s.measure(g)
	if err != nil {
		return err
	}
	g.size, s.torn = m.size, m.torn
	if hasCursor && !m.headed && s.at.written < g.base {
		if err := s.explain(g); err != nil || m.next == g.base {
			return err // it is empty: what is written ends before it
		}
	}
	s.at.written = max(s.at.written, m.next)
	return nil
}

// explain says how many numbers before g were never on the medium, where a power cut took the head of g that did: the
// cursor was synced before g was made, and the segment before it tells what it can hold.
func (s *Spool) explain(g *segment) error {
	if n := len(s.segs); n > 1 {
		m, err := s.measure(s.segs[n-2])
		if err != nil {
			return err
		}
		s.at.written = max(s.at.written, min(m.next, g.base)) // more is what is left of a commit that failed
	}
	g.gap, g.known, g.mend = uint32(min(g.base-s.at.written, anyGap)), true, true
	return nil
}

// extent is how far a segment goes.
type extent struct {
	next   uint64 // the number that follows its last reading
	size   int64
	torn   int64
	headed bool
}

func (s *Spool) measure(g *segment) (m extent, err error) {
	m.next = g.base
	f, err := os.Open(g.path)
	if err != nil {
		if unreadable(err) {
			return m, nil
		}
		return m, label("open", g.path, err)
	}
	defer f.Close()
	sc := scanner{key: s.key, src: f, off: headSize, end: g.size, good: headSize}
	b := make([]byte, headSize)
	h, ok := readHead(b[:salvage(f, b, 0)])
	m.headed = ok && h.base == g.base
	reused := ok && (h.gap&recycled != 0 || !m.headed)
	if reused {
		sc.base = g.base // what lies behind may be what the file held under another name
	}
	for {
		r, ok := sc.next(m.next, highest)
		if !ok {
			break
		}
		m.next = r.Seq + 1
	}
	m.size, m.torn = sc.good, tornBytes(f, sc.good, sc.end, reused)
	s.keep(f)
	return m, nil
}

// keep makes sure of what the newest segment was found to hold. A process that was killed between its write and
// its sync leaves readings that only the page cache knows: they must not be sent now and, after a power cut, leave
// their numbers to others. A medium that refuses has no say: all that was promised is on it already.
func (s *Spool) keep(f *os.File) {
	_ = fdatasync(f)
	_ = syncDir(s.dir)
}

// tornBytes is how much lies between a segment's last frame and its padding of zeros. In a recycled file the end
// mark takes the place of the padding.
func tornBytes(f *os.File, from, to int64, reused bool) int64 {
	b := make([]byte, max(0, to-from))
	b = b[:salvage(f, b, from)]
	if reused && (len(b) < len(endMark) || bytes.HasPrefix(b, endMark[:])) {
		return 0
	}
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return int64(len(b))
}
