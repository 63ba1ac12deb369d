package spool

import "os"

// commit puts the records on the medium, whose frames these are, and then lets them be seen. The caller has the turn.
func (s *Spool) commit(records []Record, frames []byte) error {
	if len(records) == 0 {
		return nil
	}
	for {
		err := s.tryCommit(records, frames)
		if !full(err) || s.limits.Reserve < 0 {
			return err
		}
		if freed, e := s.giveBack(); e != nil || !freed {
			return s.noRoom(err)
		}
	}
}

// frames returns what is to be written, of about n bytes, and moves the bodies of the records there.
func (k key) frames(records []Record, n int) []byte {
	frames := make([]byte, 0, n)
	for i := range records {
		r := &records[i]
		frames = k.appendFrame(frames, *r)
		end := len(frames)
		r.Body = frames[end-len(r.Body) : end : end]
	}
	return frames
}

func (s *Spool) tryCommit(records []Record, frames []byte) error {
	first := records[0].Seq
	if s.out != nil && first != s.at.written {
		s.end() // only the head of a segment can say that numbers are missing
	}
	if err := s.makeRoom(len(frames)); err != nil {
		return err
	}
	if s.out == nil {
		out, err := s.create(first)
		if err != nil {
			return err
		}
		s.out = out
	}
	h := head{version: version, id: s.id, base: s.out.base, gap: s.out.gap}
	if err := s.out.write(frames, h, s.limits.SegmentBytes, s.step); err != nil {
		// What the file holds of this commit is unknown, so it is written to no more. The next commit gives the
		// same numbers again, in a segment whose base says that what is left of them here does not count.
		s.out.clean = false
		s.end()
		return err
	}
	s.publish(records)
	return nil
}

// end writes to the newest segment no more, and gives back what was reserved behind it.
func (s *Spool) end() {
	if s.out != nil {
		if s.out.clean {
			_ = s.out.file.Truncate(s.out.room)
		}
		_ = s.out.file.Close() // all that was promised is on the medium
		s.out = nil
	}
}

// publish makes the records part of the queue.
func (s *Spool) publish(records []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.out.segment
	if n := len(s.segs); n == 0 || s.segs[n-1] != g {
		s.segs = append(s.segs, g)
	}
	g.size, g.disk = s.out.end, s.out.room
	was := s.at.written
	s.at.written = records[len(records)-1].Seq + 1
	s.next = max(s.next, s.at.written)
	s.ram.drop(s.at.written - 1)
	s.head.push(records, g, was)
	s.signal()
}

// create makes the segment that begins with base, out of one that nobody needs where there is one. Its head comes
// with the first commit.
func (s *Spool) create(base uint64) (*output, error) {
	if err := makeDir(s.dir); err != nil {
		return nil, err
	}
	if err := s.settle(true); err != nil {
		return nil, err
	}
	if err := s.vacate(base); err != nil {
		return nil, err
	}
	s.trim()
	g := &segment{base: base, path: s.path(segmentName(base)), known: true, clean: true}
	g.gap = uint32(min(base-min(base, s.at.written), anyGap))
	o := &output{segment: g, meter: &s.meter}
	if err := s.recycle(o); err != nil {
		return nil, err
	}
	if err := s.step.At("create", g.path); err != nil {
		return nil, err
	}
	// A file of this name holds nothing that was promised: else base would be higher.
	flags := os.O_WRONLY | os.O_CREATE
	if o.room == 0 {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(g.path, flags, 0o600)
	if err != nil {
		return nil, label("create", g.path, err)
	}
	if err := s.step.At("created", g.path); err != nil {
		_ = f.Close()
		return nil, err
	}
	o.file = f
	if o.room == 0 {
		reserve(f, s.limits.SegmentBytes)
	}
	return o, nil
}

// mend gives the newest segment the head that a power cut took, before the cursor forgets what was to be in it.
func (s *Spool) mend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segs) == 0 || !s.segs[len(s.segs)-1].mend {
		return nil
	}
	g := s.segs[len(s.segs)-1]
	f, err := os.OpenFile(g.path, os.O_WRONLY, 0)
	if err != nil {
		return label("open", g.path, err)
	}
	defer f.Close()
	h := head{version: version, id: s.id, base: g.base, gap: g.gap}.append(nil)
	if _, err = f.WriteAt(h, 0); err == nil {
		err = fdatasync(f)
	}
	g.mend = err != nil
	s.meter.add(0, headSize)
	return label("write", g.path, err)
}

// recycle gives o the file of the oldest segment that nobody waits for. All its frames have numbers below the base of o,
// and so they are passed over. Until the first commit is on the medium a power cut may undo the renaming, which leaves a
// segment that nobody waits for.
func (s *Spool) recycle(o *output) error {
	s.cursor.mu.Lock()
	defer s.cursor.mu.Unlock()
	s.mu.Lock()
	idle := s.idle(s.cursor.synced.acked) // what only memory knows, a power cut forgets
	s.mu.Unlock()
	if len(idle) == 0 {
		return nil
	}
	g := idle[0]
	if !g.clean && !s.outworn(g, o.base) {
		return s.remove(g)
	}
	if err := s.step.At("recycle", g.path); err != nil {
		return err
	}
	if err := os.Rename(g.path, o.path); err != nil {
		return label("rename", g.path, err)
	}
	s.forgetSegment(g)
	o.room, o.gap = g.disk, o.gap|recycled
	return s.step.At("recycled", o.path)
}

// outworn reports whether g, which an earlier life made or a commit failed in, holds no number from base on. A commit
// that failed leaves some that are given again.
func (s *Spool) outworn(g *segment, base uint64) bool {
	f, err := os.Open(g.path)
	if err != nil {
		return false
	}
	defer f.Close()
	sc := scanner{key: s.key, src: f, off: headSize, end: g.disk}
	_, found := sc.next(base, highest)
	return !found
}

// trim gives back what an earlier life, which was killed, had reserved behind the newest segment.
func (s *Spool) trim() {
	s.mu.Lock()
	var path string
	if n := len(s.segs); n > 0 && !s.segs[n-1].clean {
		path = s.segs[n-1].path
	}
	s.mu.Unlock()
	if info, err := os.Stat(path); err == nil {
		_ = os.Truncate(path, info.Size()) // only what lies behind its end goes
	}
}

// vacate gives the name of a segment that holds no reading to its successor. When there is something in it that
// cannot be read, it is kept aside.
func (s *Spool) vacate(base uint64) error {
	s.mu.Lock()
	var last *segment
	if n := len(s.segs); n > 0 && s.segs[n-1].base == base {
		last = s.segs[n-1]
	}
	torn := s.torn > 0
	s.mu.Unlock()
	if last == nil {
		return nil
	}
	if torn {
		return s.setAside(last)
	}
	s.forgetSegment(last)
	return nil
}
