package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/devid-agent/devid-agent/fault"
)

// batchBytes bounds what one commit writes, unless a single call wants more.
const batchBytes = 256 << 10

// errClosed is what a closed spool answers.
var errClosed = fmt.Errorf("the spool: %w", os.ErrClosed)

// batch is what one commit will write. Everyone who put something in waits for done, and whoever of them gets
// the turn first writes for all: there is no goroutine that could be missed.
type batch struct {
	entries []*entry
	bytes   int
	taken   bool
	done    chan struct{}
	err     error // set before done is closed
}

// entry is what one caller put in.
type entry struct {
	readings []Reading
	first    uint64
	gone     bool // its caller no longer waits
}

// Append stores body, which is JSON, as a reading of stream, and returns its number once it is on the medium, or at
// once if Limits.Within says so. An error promises nothing: the reading may be delivered or not. Callers that come
// while another one's write is under way share the next one.
func (s *Spool) Append(ctx context.Context, stream string, body []byte) (seq uint64, err error) {
	return s.Put(ctx, Reading{Stream: stream, Body: body})
}

// Put is Append for several readings, of which none or all are promised, with numbers that follow each other. The
// first is returned: 0 for no readings. They are written in one go, and may take 4 MiB together. The bodies may be
// used again when it has returned.
func (s *Spool) Put(ctx context.Context, r ...Reading) (first uint64, err error) {
	e, n, err := s.entry(r)
	if err != nil || len(r) == 0 {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append to the spool: %w", err)
	}
	if s.limits.Within > 0 {
		err = s.hold(ctx, e, n)
	} else {
		err = s.write(ctx, e, n)
	}
	if errors.Is(err, ErrFull) {
		s.refuse(len(r))
	}
	if err != nil {
		return 0, err
	}
	return e.first, nil
}

// entry checks what a caller wants to store, and says how long its frames are.
func (s *Spool) entry(rs []Reading) (e *entry, n int, err error) {
	e = &entry{readings: rs}
	if slices.ContainsFunc(rs, func(r Reading) bool { return r.Type == usualType }) {
		e.readings = plain(rs)
	}
	for _, r := range e.readings {
		if err := acceptable(r); err != nil {
			return nil, 0, err
		}
		n += frameSize(Record{Stream: r.Stream, Type: r.Type, Body: r.Body})
	}
	if most := min(maxPut, s.limits.MaxBytes/2); len(rs) > 1 && int64(n) > most {
		return nil, 0, fault.As(fault.Permanent, fmt.Errorf("append %d bytes at once (at most %d): %w", n, most, ErrTooLarge))
	}
	if most := ahead / 2; s.limits.Within > 0 && len(rs) > most {
		return nil, 0, fault.As(fault.Permanent, fmt.Errorf("append %d readings at once (at most %d): %w", len(rs), most, ErrTooLarge))
	}
	return e, n, nil
}

// plain is rs without the type that all have who say nothing: so the release before can read it.
func plain(rs []Reading) []Reading {
	rs = slices.Clone(rs)
	for i := range rs {
		if rs[i].Type == usualType {
			rs[i].Type = ""
		}
	}
	return rs
}

// write puts e on the medium.
func (s *Spool) write(ctx context.Context, e *entry, n int) error {
	b := s.join(e, n)
	select {
	case <-b.done:
	case s.turn <- struct{}{}:
		s.lead(b)
		<-s.turn
	case <-ctx.Done():
		s.abandon(b, e)
		return fmt.Errorf("append to the spool: %w", ctx.Err())
	}
	return b.err
}

// join puts e, whose frames have n bytes, into the batch that is to be written next.
func (s *Spool) join(e *entry, n int) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batch == nil || s.batch.bytes+n > batchBytes {
		s.batch = &batch{done: make(chan struct{})} // the full one is kept by those who wait for it
	}
	s.batch.entries = append(s.batch.entries, e)
	s.batch.bytes += n
	return s.batch
}

// abandon takes e out of b, if b is not being written yet.
func (s *Spool) abandon(b *batch, e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.gone = !b.taken
}

// lead writes b, unless it was written while its caller waited for the turn. The caller has the turn.
func (s *Spool) lead(b *batch) {
	if b.taken {
		return
	}
	records, frames, err := s.seal(b)
	if err == nil {
		err = s.commit(records, frames)
	}
	b.err = err
	close(b.done)
}

// seal closes b to newcomers and numbers what is in it. The numbers are only given now, since those of a commit
// that failed are given again. The frames are copies: from here on nobody's body is looked at.
func (s *Spool) seal(b *batch) (records []Record, frames []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.taken = true
	if s.batch == b {
		s.batch = nil
	}
	if s.closed {
		return nil, nil, errClosed
	}
	for _, e := range b.entries {
		if !e.gone {
			records = s.number(records, e, s.next+uint64(len(records)))
		}
	}
	return records, s.key.frames(records, b.bytes), nil
}

// number adds the readings of e to records, from the number first on. The caller holds mu.
func (s *Spool) number(records []Record, e *entry, first uint64) []Record {
	s.clock.look(s.next)
	now, _ := s.clock.read()
	e.first = first
	for i, r := range e.readings {
		records = append(records, Record{Seq: first + uint64(i), Time: now, Stream: r.Stream, Type: r.Type, Body: r.Body})
	}
	return records
}

// refuse counts n readings that found no room.
func (s *Spool) refuse(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at.refused += uint64(n)
}
