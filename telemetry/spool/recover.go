package spool

import (
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
	s.at = position{next: 1}
	if hasCursor {
		s.cursor.adopt(last)
		s.at = last.position
	}
	if len(s.segs) > 0 {
		// Segments are removed oldest first and only when nobody waits for them: the oldest one's base is a
		// cursor too.
		s.at.acked = max(s.at.acked, s.segs[0].base-1)
		end, err := s.measureNewest()
		if err != nil {
			return err
		}
		s.at.next = max(s.at.next, end)
	}
	s.at.next = max(s.at.next, s.at.acked+1)
	if len(s.segs) == 0 {
		s.at.damaged += s.at.next - 1 - s.at.acked // somebody removed them
		s.at.acked = s.at.next - 1
	}
	s.head.seq = s.at.acked + 1
	return nil
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

// measureNewest finds the end of the newest segment, and returns the number that follows its last reading.
// Whatever lies behind that was never promised, or is damaged beyond telling.
func (s *Spool) measureNewest() (next uint64, err error) {
	g := s.segs[len(s.segs)-1]
	next = g.base
	f, err := os.Open(g.path)
	if err != nil {
		if unreadable(err) {
			return next, nil
		}
		return 0, label("open", g.path, err)
	}
	defer f.Close()
	sc := scanner{key: s.key, src: f, off: headSize, end: g.size, good: headSize}
	for {
		r, ok := sc.next(next, highest)
		if !ok {
			break
		}
		next = r.Seq + 1
	}
	s.torn = tornBytes(f, sc.good, g.size)
	g.size = sc.good
	s.keep(f)
	return next, nil
}

// keep makes sure of what the newest segment was found to hold. A process that was killed between its write and
// its sync leaves readings that only the page cache knows: they must not be sent now and, after a power cut, leave
// their numbers to others. A medium that refuses has no say: all that was promised is on it already.
func (s *Spool) keep(f *os.File) {
	_ = fdatasync(f)
	_ = syncDir(s.dir)
}

// tornBytes is how much lies between a segment's last frame and its padding of zeros.
func tornBytes(f *os.File, from, to int64) int64 {
	b := make([]byte, max(0, to-from))
	b = b[:salvage(f, b, from)]
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return int64(len(b))
}
