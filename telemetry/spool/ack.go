package spool

import (
	"fmt"
	"os"
	"slices"

	"github.com/devid-agent/devid-agent/fault"
)

// cursorEvery bounds how many acknowledged readings a power cut brings back.
const cursorEvery = 256

// Ack forgets all readings up to and including seq. It holds at once; after a power cut, up to 256
// acknowledged readings may be there again. An error says that the medium did not take it, and so that it is
// less than that which will be remembered; the next Ack tries again.
func (s *Spool) Ack(seq uint64) error {
	s.mu.Lock()
	if seq >= s.at.next {
		last := s.at.next - 1
		s.mu.Unlock()
		return fault.As(fault.Permanent, fmt.Errorf("acknowledge %d: the last reading is %d", seq, last))
	}
	s.forget(seq)
	s.signal()
	s.mu.Unlock()
	return s.settle(false)
}

// forget puts all up to and including seq behind, and returns how many readings that were, as far as is known.
// The caller holds mu.
func (s *Spool) forget(seq uint64) (live uint64) {
	h, from := &s.head, s.at.acked
	if seq <= from {
		return 0
	}
	lost := min(seq, h.seq-1) - from - uint64(h.drop(seq))
	s.at.damaged += lost
	s.at.acked = seq
	if h.seq <= seq {
		h.close()
		h.seq = seq + 1
	}
	return seq - from - lost
}

// settle writes the cursor and removes the segments that nobody waits for.
//
// The cursor is on the medium before a segment goes: a file system may bring back one removed file and not
// another, and only the cursor tells a segment that was done with from one that was lost.
func (s *Spool) settle(sync bool) error {
	s.cursor.mu.Lock()
	defer s.cursor.mu.Unlock()
	p, idle := s.behind()
	sync = sync || len(idle) > 0 || p.acked-s.cursor.synced.acked >= cursorEvery
	err := s.cursor.save(p, sync)
	if full(err) && len(idle) > 0 {
		// The base of the segment that follows says as much as the cursor would; it makes room for it.
		if err := s.remove(idle[0]); err != nil {
			return err
		}
		idle = idle[1:]
		err = s.cursor.save(p, sync)
	}
	for i := 0; err == nil && i < len(idle); i++ {
		err = s.remove(idle[i])
	}
	return err
}

// behind returns what is behind, and the segments that hold nothing else. The newest is never one of them: it
// says where the numbers go on.
func (s *Spool) behind() (position, []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n+1 < len(s.segs) && s.segs[n+1].base <= s.at.acked+1 {
		n++
	}
	return s.at, slices.Clone(s.segs[:n])
}

// remove ends a segment that nobody waits for. One that was damaged is kept aside for a person to look at.
func (s *Spool) remove(g *segment) error {
	s.mu.Lock()
	lost := g.lost
	s.mu.Unlock()
	if lost {
		return s.setAside(g)
	}
	if err := s.unlink(g.path); err != nil {
		return err
	}
	s.forgetSegment(g)
	return nil
}

// unlink does not wait until the removal is on the medium: a file that a power cut brings back is removed again.
func (s *Spool) unlink(path string) error {
	if err := s.step.At("remove", path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return label("remove", path, err)
	}
	return s.step.At("removed", path)
}

// setAside renames g to *.bad.
func (s *Spool) setAside(g *segment) error {
	to := g.path + asideSuffix
	if err := s.step.At("rename", to); err != nil {
		return err
	}
	if err := os.Rename(g.path, to); err != nil && !os.IsNotExist(err) {
		return label("rename", g.path, err)
	}
	if err := s.step.At("renamed", to); err != nil {
		return err
	}
	s.forgetSegment(g)
	s.mu.Lock()
	s.aside = append(s.aside, &segment{base: g.base, path: to, disk: g.disk})
	s.mu.Unlock()
	return nil
}

// forgetSegment takes g off the list.
func (s *Spool) forgetSegment(g *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head.seg == g {
		s.head.close()
	}
	s.segs = slices.DeleteFunc(s.segs, func(o *segment) bool { return o == g })
}

// dropOldest gives back room: what was set aside first, and then the oldest segment, whose readings are counted.
func (s *Spool) dropOldest() (dropped bool, err error) {
	s.mu.Lock()
	if len(s.aside) > 0 {
		g := s.aside[0]
		s.mu.Unlock()
		return true, s.dropAside(g)
	}
	if len(s.segs) < 2 {
		s.mu.Unlock()
		return false, nil
	}
	s.at.dropped += s.forget(s.segs[1].base - 1)
	s.signal()
	s.mu.Unlock()
	return true, s.settle(true)
}

func (s *Spool) dropAside(g *segment) error {
	if err := s.unlink(g.path); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside = slices.DeleteFunc(s.aside, func(o *segment) bool { return o == g })
	return nil
}
