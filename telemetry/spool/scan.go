package spool

import (
	"bytes"
	"errors"
	"io"
)

// chunk is how much is read at a time, and so how long a Peek can hold up an Append.
const chunk = 64 << 10

// page is the unit in which a medium fails.
const page = 4 << 10

// scanner reads the frames of a segment and passes over what is none: it never fails, it only finds less.
type scanner struct {
	key  key
	src  io.ReaderAt
	off  int64  // of the byte that is looked at next
	end  int64  // nothing from here on is to be read
	good int64  // the end of the last whole frame
	base uint64 // a whole frame of a lower number ends the segment: it was there before the file was recycled
	like Record // the last one, whose words the next one shares
	buf  []byte // the bytes from off on that were read already
}

// next returns the next whole record whose number is in [low, high). Whole records of other numbers are
// leftovers of a commit that was never promised, or of a deleted file: they are passed over.
func (s *scanner) next(low, high uint64) (Record, bool) {
	for s.load(frameHead + 1) {
		size, ok := s.key.measure(s.buf)
		if !ok || !s.load(int64(size)) {
			s.resync()
			continue
		}
		r, ok := s.key.decode(s.buf[:size], s.like)
		if !ok {
			s.resync()
			continue
		}
		if r.Seq < s.base {
			s.end = s.off
			break
		}
		s.like.Stream, s.like.Type = r.Stream, r.Type
		s.skip(size)
		s.good = s.off
		if low <= r.Seq && r.Seq < high {
			return r, true
		}
	}
	return Record{}, false
}

func (s *scanner) skip(n int) { s.off, s.buf = s.off+int64(n), s.buf[n:] }

// resync moves to the next place where a frame may begin.
func (s *scanner) resync() {
	s.skip(1)
	if i := bytes.Index(s.buf, s.key.magic[:]); i >= 0 {
		s.skip(i)
		return
	}
	s.skip(max(0, len(s.buf)-len(s.key.magic)+1))
}

// load makes the next n bytes lie in buf; false when the segment has no n more. The buffer is new each time,
// because the records that were returned lie in the old one.
func (s *scanner) load(n int64) bool {
	if int64(len(s.buf)) >= n {
		return true
	}
	if s.off+n > s.end {
		return false
	}
	b := make([]byte, min(max(n, chunk), s.end-s.off))
	had := copy(b, s.buf)
	b = b[:had+salvage(s.src, b[had:], s.off+int64(had))]
	s.buf = b
	if int64(len(b)) < n {
		s.end = s.off + int64(len(b)) // the file is shorter than it was said to be
		return false
	}
	return true
}

// salvage reads into b from off on, and leaves zeros where the medium cannot be read.
func salvage(src io.ReaderAt, b []byte, off int64) int {
	n, err := src.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) {
		return n
	}
	for n < len(b) {
		to := min(len(b), n+page-int((off+int64(n))%page))
		clear(b[n:to])
		if got, err := src.ReadAt(b[n:to], off+int64(n)); errors.Is(err, io.EOF) {
			return n + got
		}
		n = to
	}
	return n
}
