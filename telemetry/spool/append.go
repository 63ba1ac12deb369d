package spool

import (
	"context"
	"fmt"
	"os"
	"time"
)

// batchBytes bounds what one commit writes, unless a single reading is larger.
const batchBytes = 256 << 10

// errClosed is what a closed spool answers.
var errClosed = fmt.Errorf("append to the spool: %w", os.ErrClosed)

// batch is what one commit will write. Everyone who put something in waits for done, and whoever of them gets
// the turn first writes for all: there is no goroutine that could be missed.
type batch struct {
	entries []*entry
	bytes   int
	taken   bool
	done    chan struct{}
	err     error // set before done is closed
}

type entry struct {
	Record
	gone bool // its caller no longer waits
}

// Append stores body as a reading of stream, and returns its number once it is on the medium. An error promises
// nothing: the reading may be delivered or not. Callers that come while another one's write is under way share
// the next one.
func (s *Spool) Append(ctx context.Context, stream string, body []byte) (seq uint64, err error) {
	if err := acceptable(stream, body); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append to the spool: %w", err)
	}
	e := &entry{Record: Record{Time: time.Now(), Stream: stream, Body: body}}
	b := s.join(e)
	select {
	case <-b.done:
	case s.turn <- struct{}{}:
		s.lead(b)
		<-s.turn
	case <-ctx.Done():
		s.abandon(b, e)
		return 0, fmt.Errorf("append to the spool: %w", ctx.Err())
	}
	if b.err != nil {
		return 0, b.err
	}
	return e.Seq, nil
}

// join puts e into the batch that is to be written next.
func (s *Spool) join(e *entry) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := frameSize(e.Record)
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
	records, frames, err := s.take(b)
	if err == nil {
		err = s.commit(records, frames)
	}
	b.err = err
	close(b.done)
}

// take closes b to newcomers and numbers what is in it. The numbers are only given now, since those of a commit
// that failed are given again. The frames are copies: from here on nobody's body is looked at.
func (s *Spool) take(b *batch) (records []Record, frames []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.taken = true
	if s.batch == b {
		s.batch = nil
	}
	if s.closed {
		return nil, nil, errClosed
	}
	frames = make([]byte, 0, b.bytes)
	for _, e := range b.entries {
		if e.gone {
			continue
		}
		e.Seq = s.at.next + uint64(len(records))
		frames = s.key.appendFrame(frames, e.Record)
		end := len(frames)
		r := e.Record
		r.Body = frames[end-len(r.Body) : end : end]
		records = append(records, r)
	}
	return records, frames, nil
}

// commit puts the frames on the medium and then lets them be seen.
func (s *Spool) commit(records []Record, frames []byte) error {
	if len(records) == 0 {
		return nil
	}
	if err := s.makeRoom(len(frames)); err != nil {
		return err
	}
	if s.out == nil {
		out, err := s.create(records[0].Seq)
		if err != nil {
			return err
		}
		s.out = out
	}
	h := head{version: version, id: s.id, base: s.out.base}
	if err := s.out.write(frames, h, s.limits.SegmentBytes, s.step); err != nil {
		// What the file holds of this commit is unknown, so it is written to no more. The next commit gives the
		// same numbers again, in a segment whose base says that what is left of them here does not count.
		_ = s.out.file.Close()
		s.out = nil
		return err
	}
	s.publish(records)
	return nil
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
	s.at.next = records[len(records)-1].Seq + 1
	s.head.push(records, g)
	s.signal()
}

// makeRoom ends a segment that n more bytes would make too large, and drops the oldest ones while the spool is
// over its limit.
func (s *Spool) makeRoom(n int) error {
	if s.out != nil && s.out.end+int64(n) > s.limits.SegmentBytes {
		_ = s.out.file.Close() // all that was promised is on the medium
		s.out = nil
	}
	for s.over(n) {
		dropped, err := s.dropOldest()
		if err != nil {
			return err
		}
		if !dropped {
			break
		}
	}
	return nil
}

func (s *Spool) over(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes()+int64(n) > s.limits.MaxBytes
}
