package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

const (
	// ramBytes bounds what lives in memory alone: when it is full, whoever comes next writes it to the medium.
	ramBytes = 256 << 10
	// ahead is how many numbers are noted on the medium as given before they are. A power cut costs as many numbers,
	// and no number is given twice.
	ahead = 1 << 16
	// retry is when a write to the medium that failed is tried again.
	retry = 10 * time.Second
)

// ram is the end of the queue, which is not on the medium. The numbers in it follow each other and end at the
// newest.
type ram struct {
	records []Record
	bytes   int
	timer   *time.Timer // nil or stopped while there is nothing to write
	failed  bool        // the medium did not take it when it was time
}

// behind returns the records whose number is above seq.
func (m *ram) behind(seq uint64) []Record {
	return m.records[sort.Search(len(m.records), func(i int) bool { return m.records[i].Seq > seq }):]
}

// drop lets go of the records up to and including seq: they are on the medium, or nobody waits for them.
func (m *ram) drop(seq uint64) {
	n := len(m.records) - len(m.behind(seq))
	for _, r := range m.records[:n] {
		m.bytes -= frameSize(r)
	}
	clear(m.records[:n])
	if m.records = m.records[n:]; len(m.records) > 0 {
		return
	}
	m.records, m.failed = nil, false
	if m.timer != nil {
		m.timer.Stop()
	}
}

// hold takes e, whose frames have n bytes, into memory.
func (s *Spool) hold(ctx context.Context, e *entry, n int) error {
	for {
		lack, err := s.tryHold(e, n)
		switch {
		case err != nil || lack == lacksNothing:
			return err
		case lack == lacksNumbers:
			err = s.moreNumbers(len(e.readings))
		case lack == lacksRoom:
			err = s.moreRoom(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// lack is what keeps an entry out of memory.
type lack uint8

const (
	lacksNothing lack = iota
	lacksNumbers      // that may be given
	lacksRoom
)

func (s *Spool) tryHold(e *entry, n int) (lack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.ram
	switch {
	case s.closed:
		return lacksNothing, errClosed
	case len(m.records) > 0 && m.bytes+n > ramBytes:
		return lacksRoom, nil
	case s.next+uint64(len(e.readings)) > s.numbers:
		return lacksNumbers, nil
	}
	had := len(m.records)
	m.records = s.number(m.records, e, s.next)
	for i := range m.records[had:] {
		r := &m.records[had+i]
		r.Body = append([]byte(nil), r.Body...)
	}
	m.bytes += n
	s.next += uint64(len(e.readings))
	if had == 0 {
		s.wake(s.limits.Within)
	}
	s.signal()
	return lacksNothing, nil
}

// moreRoom writes what is in memory. A medium that refuses does not stop it, as far as the policy allows: what cannot be
// written lives in memory then, which Stats.Late says.
func (s *Spool) moreRoom(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("append to the spool: %w", ctx.Err())
	}
	defer func() { <-s.turn }()
	if s.shut() {
		return errClosed
	}
	if err := s.flush(); err != nil {
		return s.makeRoomInMemory(err)
	}
	return nil
}

// moreNumbers notes on the medium that n numbers more are given. One that refuses is not waited for.
func (s *Spool) moreNumbers(n int) error {
	err := makeDir(s.dir)
	if err == nil {
		err = s.settleOpen(true)
	}
	if err == nil || errors.Is(err, errClosed) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers = max(s.numbers, s.next+uint64(max(n, ahead/256))) // the time of a reading names it too
	return nil
}

// makeRoomInMemory gives up the older half of what the medium did not take, if the policy says so.
func (s *Spool) makeRoomInMemory(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.ram
	if s.limits.Drop != DropOldest || len(m.records) == 0 {
		return err
	}
	from, to := m.records[0].Seq, m.records[len(m.records)/2].Seq
	s.absent.add(from, to, dropped)
	m.drop(to)
	s.skip()
	s.signal()
	return nil
}

// flush writes to the medium what is in memory. The caller has the turn.
func (s *Spool) flush() error {
	s.mu.Lock()
	records, n := slices.Clone(s.ram.records), s.ram.bytes // what is acknowledged meanwhile is cleared
	s.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	err := s.commit(records, s.key.frames(records, n))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ram.failed = err != nil && len(s.ram.records) > 0
	return err
}

// wake sets the timer. It is the only thing here that runs by itself: it is set while there is something in memory,
// and Close ends it. The caller holds mu.
func (s *Spool) wake(after time.Duration) {
	if s.ram.timer == nil {
		s.ram.timer = time.AfterFunc(after, s.due)
		return
	}
	s.ram.timer.Reset(after)
}

// due writes what is in memory when the oldest of it has been there for long enough. The younger ones go with it: the
// hub does not acknowledge now.
func (s *Spool) due() {
	wait := s.dueIn()
	if wait <= 0 {
		s.turn <- struct{}{}
		var err error
		if !s.shut() {
			err = s.flush()
		}
		<-s.turn
		if wait = s.dueIn(); err != nil {
			wait = max(retry, s.limits.Within)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && len(s.ram.records) > 0 {
		s.wake(max(wait, time.Millisecond))
	}
}

// dueIn is how long the oldest reading in memory may still stay there.
func (s *Spool) dueIn() time.Duration {
	factor := time.Duration(s.meter.stretch())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.ram.records) == 0 {
		return time.Hour
	}
	oldest := s.ram.records[0]
	return s.limits.Within*factor - s.clock.age(oldest.Seq, oldest.Time.UnixNano(), s.clock.look(s.next))
}
