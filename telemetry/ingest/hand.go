package ingest

import (
	"context"
	"sync"
)

// hand bounds the bytes of readings that are in memory at a time. Who wants more than is free waits for its turn, in
// order.
type hand struct {
	mu    sync.Mutex
	size  int64
	held  int64
	queue []*waiter
}

type waiter struct {
	n    int64
	turn chan struct{} // closed when n is held
}

func newHand(size int64) *hand { return &hand{size: size} }

// take returns nil once n more bytes are held, which give returns. Who asks for more than all gets all.
func (h *hand) take(ctx context.Context, n int64) error {
	n = min(n, h.size)
	h.mu.Lock()
	if len(h.queue) == 0 && h.held+n <= h.size {
		h.held += n
		h.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, turn: make(chan struct{})}
	h.queue = append(h.queue, w)
	h.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
		h.leave(w)
		return ctx.Err()
	}
}

// give returns n bytes that take has given.
func (h *hand) give(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held -= min(n, h.size)
	h.serve()
}

// leave ends a wait. If the turn came at the same moment, it goes on to the next.
func (h *hand) leave(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, other := range h.queue {
		if other == w {
			h.queue = append(h.queue[:i], h.queue[i+1:]...)
			h.serve()
			return
		}
	}
	h.held -= w.n
	h.serve()
}

// serve lets those in who fit, the first first. The caller holds mu.
func (h *hand) serve() {
	for len(h.queue) > 0 && h.held+h.queue[0].n <= h.size {
		w := h.queue[0]
		h.queue = h.queue[1:]
		h.held += w.n
		close(w.turn)
	}
}
