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
	if seq >= s.next {
		last := s.next - 1
		s.mu.Unlock()
		return fault.As(fault.Permanent, fmt.Errorf("acknowledge %d: the last reading is %d", seq, last))
	}
	s.forget(seq)
	s.skip()
	s.signal()
	s.mu.Unlock()
	return s.settleOpen(false)
}

// forget puts all up to and including seq behind, and returns how many readings that were, as far as is known.
// The caller holds mu.
func (s *Spool) forget(seq uint64) (live uint64) {
	from := s.at.acked
	if seq <= from {
		return 0
	}
	gone := s.absent.forget(seq)
	s.at.damaged += gone[lost]
	s.at.expired += gone[expired]
	s.at.poisoned += gone[poisoned]
	s.at.dropped += gone[dropped]
	s.at.acked = seq
	s.head.drop(seq)
	s.ram.drop(seq)
	return seq - from - gone.total()
}

// settle writes the cursor and removes the segments that nobody waits for and nobody needs.
//
// The cursor is on the medium before a segment goes: a file system may bring back one removed file and not
// another, and only the cursor tells a segment that was done with from one that was lost.
func (s *Spool) settle(sync bool) error {
	s.cursor.mu.Lock()
	defer s.cursor.mu.Unlock()
	return s.settleNow(sync)
}

// settleOpen is settle for whom Close does not wait.
func (s *Spool) settleOpen(sync bool) error {
	s.cursor.mu.Lock()
	defer s.cursor.mu.Unlock()
	if s.shut() {
		return errClosed
	}
	return s.settleNow(sync)
}

// settleNow is settle for who has cursor.mu.
func (s *Spool) settleNow(sync bool) error {
	if err := s.mend(); err != nil {
		return err
	}
	p, next, idle := s.behind()
	useless := s.useless(idle)
	sync = sync || len(useless) > 0 || p.stored()-s.cursor.synced.stored() >= cursorEvery*uint64(s.meter.stretch())
	err := s.cursor.save(p, next, sync)
	if full(err) && len(idle) > 0 {
		// The base of the segment that follows says as much as the cursor would; it makes room for it.
		if err := s.remove(idle[0]); err != nil {
			return err
		}
		useless = s.useless(idle[1:])
		err = s.cursor.save(p, next, sync)
	}
	if err == nil && sync {
		s.mu.Lock()
		s.numbers = s.cursor.reserved
		s.mu.Unlock()
	}
	for i := 0; err == nil && i < len(useless); i++ {
		err = s.remove(useless[i])
	}
	return err
}

// behind returns what is behind, the next number, and the segments that hold nothing else than what is behind. The
// newest is never one of them: it says where the numbers go on.
func (s *Spool) behind() (position, uint64, []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.next, slices.Clone(s.idle(s.at.acked))
}

// idle returns the segments that hold no number above acked. The caller holds mu.
func (s *Spool) idle(acked uint64) []*segment {
	n := 0
	for n+1 < len(s.segs) && s.segs[n+1].base <= acked+1 {
		n++
	}
	return s.segs[:n]
}

// useless returns those of the idle segments that no other is to be made of: they are damaged, or of another size,
// or enough younger ones are there.
func (s *Spool) useless(idle []*segment) (out []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := int64(0)
	for _, g := range slices.Backward(idle) {
		fits := s.limits.SegmentBytes/2 <= g.disk && g.disk <= s.limits.SegmentBytes*2
		if g.lost || !fits || kept+g.disk > s.limits.spare() {
			out = append(out, g)
		} else {
			kept += g.disk
		}
	}
	slices.Reverse(out) // the oldest goes first
	return out
}

// remove ends a segment that nobody waits for. One that was damaged is kept aside for a person to look at.
func (s *Spool) remove(g *segment) error {
	s.mu.Lock()
	damaged := g.lost
	s.mu.Unlock()
	if damaged {
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

// forgetSegment takes g off the list.
func (s *Spool) forgetSegment(g *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head.seg == g {
		s.head.close()
	}
	s.segs = slices.DeleteFunc(s.segs, func(o *segment) bool { return o == g })
}
