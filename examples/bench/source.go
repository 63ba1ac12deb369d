package main

import (
	"context"
	"sync"
	"time"
)

// source gives out the numbers of readings, each once, as fast as they are asked for or at a pace.
type source struct {
	mu     sync.Mutex
	next   int
	end    int
	every  time.Duration // between two readings; 0 is no pace
	due    time.Time
	closed bool
}

func newSource(first, n int) *source { return &source{next: first, end: first + n} }

// paced gives out so many a second.
func paced(first, n, perSecond int) *source {
	return &source{next: first, end: first + n, every: time.Second / time.Duration(perSecond)}
}

// take is up to most numbers from first on; n is 0 when there are no more.
func (s *source) take(ctx context.Context, most int) (first, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || ctx.Err() != nil {
		return 0, 0
	}
	first, n = s.next, min(most, s.end-s.next)
	if s.every > 0 && n > 0 {
		n = 1
		s.wait(ctx)
	}
	s.next += n
	return first, n
}

// wait sleeps until the next reading is due. Who is late is not hurried more than a tenth of a second.
func (s *source) wait(ctx context.Context) {
	now := time.Now()
	if s.due.Before(now.Add(-100 * time.Millisecond)) {
		s.due = now
	}
	select {
	case <-ctx.Done():
	case <-time.After(s.due.Sub(now)):
	}
	s.due = s.due.Add(s.every)
}

// close makes it give no more.
func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// promises are the numbers that a receiver has confirmed.
type promises struct {
	mu      sync.Mutex
	numbers []int
}

func (p *promises) add(first, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range n {
		p.numbers = append(p.numbers, first+i)
	}
}

func (p *promises) all() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int(nil), p.numbers...)
}
