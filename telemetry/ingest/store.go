package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// errPatience is in the error of a session whose readings the spool did not take for too long.
var errPatience = errors.New("the spool does not take the reading")

// A client whose readings are not taken is not read from, and cut off when that lasts: it still has what was not
// acknowledged, and may know better what to do with it.
const (
	firstRetry = 100 * time.Millisecond
	mostRetry  = 2 * time.Second
	longRetry  = 20 * time.Second
)

// store stores what comes out of the queue, and acknowledges it in its order, until the end of the queue.
func (s *session) store(ctx context.Context) error {
	for group := s.queue.take(); group != nil; group = s.queue.take() {
		if err := s.settle(ctx, group); err != nil {
			return err
		}
	}
	return nil
}

// settle stores a group, and tries again what was not taken, while there is hope.
func (s *session) settle(ctx context.Context, group []item) error {
	begin := time.Now()
	for wait := firstRetry; ; wait = min(2*wait, mostRetry) {
		err := s.putAll(ctx, group)
		done, gone := s.acknowledge(group)
		if gone != nil {
			s.hangUp() // what has come is stored all the same
		}
		if group = group[done:]; len(group) == 0 {
			return nil
		}
		if fault.Of(err) == fault.Permanent {
			return err
		}
		if time.Since(begin)+wait > longRetry || ctx.Err() != nil {
			return fmt.Errorf("%w for %v: %w", errPatience, longRetry, err)
		}
		pause(ctx, wait)
	}
}

// putAll puts what is not settled: the readings of each stream in one commit of their own, so that one stream that is
// full takes no other with it. The streams go side by side, and the spool makes one commit of them where it can.
func (s *session) putAll(ctx context.Context, group []item) error {
	streams := unsettled(group)
	if len(streams) == 1 {
		for _, of := range streams {
			return s.putStream(ctx, of)
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var first error
	for _, of := range streams {
		all.Go(func() {
			if err := s.putStream(ctx, of); err != nil {
				mu.Lock()
				defer mu.Unlock()
				first = err
			}
		})
	}
	all.Wait()
	return first
}

// unsettled is what is to be stored of each stream, in order.
func unsettled(group []item) map[string][]*item {
	streams := make(map[string][]*item, 1)
	for i := range group {
		if it := &group[i]; !it.settled {
			streams[it.reading.Stream] = append(streams[it.reading.Stream], it)
		}
	}
	return streams
}

// putStream stores readings of one stream, all or none, and settles those for which that is the end.
func (s *session) putStream(ctx context.Context, of []*item) error {
	readings := make([]spool.Reading, len(of))
	for i, it := range of {
		readings[i] = it.reading
	}
	_, err := s.m.Server.put(ctx, readings...)
	if len(of) > 1 && fault.Of(err) == fault.Permanent && !full(err) {
		return s.putSingly(ctx, of) // together they may be more than a small spool takes at once
	}
	g := &s.m.Server.gate
	for _, it := range of {
		switch {
		case err == nil:
			it.settled = true
			g.taken.Add(1)
		case it.qos == 0:
			it.settled = true
			g.lost.Add(1)
		case dropped(err):
			it.settled = true
			g.refused.Add(1)
		}
	}
	if dropped(err) {
		return nil
	}
	return err
}

func (s *session) putSingly(ctx context.Context, of []*item) error {
	for i := range of {
		if err := s.putStream(ctx, of[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// acknowledge sends what is due for the settled items at the head of the group, and says how many those are.
func (s *session) acknowledge(group []item) (n int, gone error) {
	var b []byte
	var size int64
	for ; n < len(group) && group[n].settled; n++ {
		switch it := &group[n]; {
		case it.id == 0: // nobody waits for it
		case it.qos == 1:
			b = appendAnswer(b, puback, it.id)
		case it.qos == 2:
			b = appendAnswer(b, pubrec, it.id)
		}
		size += group[n].size
	}
	s.held.Add(-size)
	s.m.Server.gate.hand.give(s.peer.client(), size)
	if len(b) == 0 {
		return n, nil
	}
	return n, s.write(b)
}
