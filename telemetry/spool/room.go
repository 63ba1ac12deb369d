package spool

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// comeAgain is when a caller who was refused should try again.
const comeAgain = 10 * time.Second

// makeRoom ends a segment that n more bytes would make too large, and gives room back while the spool is over its
// limits. An error that is ErrFull says that there is none, and that the oldest are not to be dropped for it.
func (s *Spool) makeRoom(n int) error {
	if s.out != nil && s.out.end+int64(n) > s.limits.SegmentBytes {
		s.end()
	}
	for {
		short := s.short(n)
		if short == nil {
			return nil
		}
		freed, err := s.giveBack()
		switch {
		case err != nil:
			return err
		case freed:
		case s.limits.Drop == DropOldest && !full(short):
			return nil // the newest segment alone is larger than the limit
		default:
			return s.noRoom(short)
		}
	}
}

// short says what n more bytes of frames do not fit into: nil when they fit.
func (s *Spool) short(n int) error {
	grows := s.growth(n)
	s.mu.Lock()
	takes := s.bytes()
	s.mu.Unlock()
	if takes+grows > s.limits.MaxBytes {
		return fmt.Errorf("append %d bytes to the %d that the spool takes (at most %d): %w", n, takes, s.limits.MaxBytes, ErrFull)
	}
	if grows > 0 && s.out == nil {
		return s.tight()
	}
	return nil
}

// growth is how many bytes more the files take after a commit of n bytes.
func (s *Spool) growth(n int) int64 {
	if s.out != nil {
		return s.out.roomFor(n, s.limits.SegmentBytes) - s.out.room
	}
	o := output{}
	s.mu.Lock()
	if idle := s.idle(s.at.acked); len(idle) > 0 {
		o.room = idle[0].disk
	}
	s.mu.Unlock()
	return o.roomFor(headSize+n, s.limits.SegmentBytes) - o.room
}

// tight says that one more segment would take what is reserved for others. A file system that does not answer is
// taken to have room.
func (s *Spool) tight() error {
	var st syscall.Statfs_t
	if s.limits.Reserve < 0 {
		return nil
	}
	if syscall.Statfs(s.dir, &st) != nil && syscall.Statfs(filepath.Dir(s.dir), &st) != nil {
		return nil
	}
	size := int64(st.Frsize)
	reserve, free := s.limits.Reserve, int64(st.Bavail)*size
	if reserve == 0 {
		reserve = min(reserveBytes, int64(st.Blocks)*size/16)
	}
	if free-s.limits.SegmentBytes >= reserve {
		return nil
	}
	err := fmt.Errorf("%d bytes are free, %d of them reserved: %w", free, reserve, errors.Join(ErrFull, syscall.ENOSPC))
	return label("append to", s.dir, err)
}

// noRoom says to the caller what the policy means for him.
func (s *Spool) noRoom(err error) error {
	if !errors.Is(err, ErrFull) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	switch {
	case full(err):
		return err // for a person
	case s.limits.Drop == Refuse:
		return fault.Later(err, comeAgain)
	}
	return fault.As(fault.Permanent, err)
}

// giveBack frees some room, beginning with what nobody misses; false when there is nothing to give.
func (s *Spool) giveBack() (freed bool, err error) {
	if s.limits.TTL > 0 {
		s.After(0, 1, 0) // what has expired is put behind
	}
	if dropped, err := s.dropIdle(); dropped || err != nil {
		return dropped, err
	}
	if g := s.keptAside(); g != nil {
		return true, s.dropAside(g)
	}
	if s.limits.Drop != DropOldest {
		return false, nil
	}
	return s.dropOldest()
}

// dropOldest gives the oldest segment up, whose readings are counted.
func (s *Spool) dropOldest() (dropped bool, err error) {
	s.mu.Lock()
	if len(s.segs) < 2 {
		s.mu.Unlock()
		return false, nil
	}
	s.at.dropped += s.forget(s.segs[1].base - 1)
	s.skip()
	s.signal()
	s.mu.Unlock()
	return true, s.settle(true)
}

// dropIdle removes the oldest segment that nobody waits for; false when there is none.
func (s *Spool) dropIdle() (dropped bool, err error) {
	s.cursor.mu.Lock()
	defer s.cursor.mu.Unlock()
	_, _, had := s.behind()
	if len(had) == 0 {
		return false, nil
	}
	if err := s.settleNow(true); err != nil {
		return false, err
	}
	if _, _, idle := s.behind(); len(idle) == len(had) {
		return true, s.remove(idle[0])
	}
	return true, nil
}
