package spool

import (
	"fmt"
	"os"
	"slices"

	"github.com/devid-agent/devid-agent/fault"
)

// maxPoison is how many readings that were set aside are kept: the oldest make room for a new one.
const maxPoison = 256

// Aside takes a reading that the hub can never take out of the queue: it is copied to a file beside the segments, and
// counted, and then neither Peek nor After returns it, also after a restart. A reading that is not there any more is
// fine.
func (s *Spool) Aside(seq uint64) error {
	switch {
	case seq == 0:
		return nil
	case s.shut():
		return errClosed
	}
	if last := s.Stats().LastSeq; seq > last {
		return fault.As(fault.Permanent, fmt.Errorf("set %d aside: the last reading is %d", seq, last))
	}
	r := s.After(seq-1, 1, 0)
	if len(r) == 0 || r[0].Seq != seq {
		return nil
	}
	if err := s.keepPoison(r[0]); err != nil {
		return err
	}
	s.mu.Lock()
	s.absent.add(seq, seq, poisoned)
	s.head.sift(&s.absent)
	s.skip()
	s.signal()
	s.mu.Unlock()
	return s.settleOpen(true)
}

// keepPoison writes r to a file of its own, which has the form of a segment. A power cut leaves a part of it, which
// holdsPoison does not take for the reading.
func (s *Spool) keepPoison(r Record) error {
	if err := makeDir(s.dir); err != nil {
		return err
	}
	g := &segment{base: r.Seq, path: s.path(fmt.Sprintf("%0*d%s", nameDigits, r.Seq, poisonSuffix))}
	b := head{version: version, id: s.id, base: r.Seq}.append(nil)
	b = s.key.appendFrame(b, r)
	if err := s.step.At("set aside", g.path); err != nil {
		return err
	}
	if err := writeFile(g.path, b); err != nil {
		return label("write", g.path, err)
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	g.size, g.disk = int64(len(b)), int64(len(b))
	s.meter.add(0, g.size+page)
	s.mu.Lock()
	s.poison = append(s.poison, g)
	var oldest *segment
	if len(s.poison) > maxPoison {
		oldest = s.poison[0]
	}
	s.mu.Unlock()
	if oldest != nil {
		if err := s.dropAside(oldest); err != nil {
			return err
		}
	}
	return s.step.At("has set aside", g.path)
}

func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = os.Remove(path) // a full disk must not keep the bytes that did not fit
	}
	return err
}

// holdsPoison reports whether g has the whole reading of its number, of this spool.
func (s *Spool) holdsPoison(g *segment) bool {
	f, err := os.Open(g.path)
	if err != nil {
		return false
	}
	defer f.Close()
	sc := scanner{key: s.key, src: f, off: headSize, end: g.size}
	_, ok := sc.next(g.base, g.base+1)
	return ok
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

// keptAside is what was kept for a person and goes first when room is needed; nil when nothing was.
func (s *Spool) keptAside() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range [][]*segment{s.aside, s.poison} {
		if len(list) > 0 {
			return list[0]
		}
	}
	return nil
}

func (s *Spool) dropAside(g *segment) error {
	if err := s.unlink(g.path); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	is := func(o *segment) bool { return o == g }
	s.aside, s.poison = slices.DeleteFunc(s.aside, is), slices.DeleteFunc(s.poison, is)
	return nil
}
