package ingest

import (
	"context"
	"slices"
	"sync"
)

// hand bounds the bytes of readings that are in memory at a time. Who wants more than is free waits for its turn, in
// order. A client that has half of all already waits for itself, and others go before it: one that begins many readings
// and ends none holds nobody else up.
type hand struct {
	mu    sync.Mutex
	size  int64
	held  int64
	of    map[string]int64 // what each client holds
	queue []*waiter
}

type waiter struct {
	client string
	n      int64
	turn   chan struct{} // closed when n is held
}

func newHand(size int64) *hand { return &hand{size: size, of: make(map[string]int64)} }

// take returns nil once the client holds n more bytes, which give returns. Who asks for more than all gets all.
func (h *hand) take(ctx context.Context, client string, n int64) error {
	w := &waiter{client: client, n: min(n, h.size), turn: make(chan struct{})}
	h.mu.Lock()
	h.queue = append(h.queue, w)
	h.serve()
	h.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
		h.leave(w)
		return ctx.Err()
	}
}

// give returns n bytes that take has given the client.
func (h *hand) give(client string, n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(client, min(n, h.size))
	h.serve()
}

// leave ends a wait. If the turn came at the same moment, it goes on to the next.
func (h *hand) leave(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.queue, w); i >= 0 {
		h.queue = slices.Delete(h.queue, i, i+1)
	} else {
		h.drop(w.client, w.n)
	}
	h.serve()
}

// drop takes n bytes from what the client holds. The caller holds mu.
func (h *hand) drop(client string, n int64) {
	h.held -= n
	if h.of[client] -= n; h.of[client] == 0 {
		delete(h.of, client)
	}
}

// serve lets those in who fit, the first first, but for those of clients that have their half. The caller holds mu.
func (h *hand) serve() {
	for i := 0; i < len(h.queue); {
		w := h.queue[i]
		if mine := h.of[w.client]; mine > 0 && mine+w.n > h.size/2 {
			i++
			continue
		}
		if h.held+w.n > h.size {
			return
		}
		h.queue = slices.Delete(h.queue, i, i+1)
		h.held += w.n
		h.of[w.client] += w.n
		close(w.turn)
	}
}
