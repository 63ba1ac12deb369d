package mqtt

import (
	"context"
	"crypto/tls"
	"sync"
)

// tickets is the caller's session cache as one connection uses it. A ticket with which no session came about is not
// tried again: the next connection signs, and whatever was wrong with the ticket is over.
type tickets struct {
	tls.ClientSessionCache // nil = none

	mu    sync.Mutex
	shown string // the key of the ticket that the server was shown; "" = none
}

func (t *tickets) Get(key string) (*tls.ClientSessionState, bool) {
	state, ok := t.ClientSessionCache.Get(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	if ok && state != nil {
		t.shown = key
	}
	return state, ok
}

// Put keeps new tickets. crypto/tls puts nil after each handshake that fails, also when the network was only silent.
func (t *tickets) Put(key string, state *tls.ClientSessionState) {
	if state != nil {
		t.ClientSessionCache.Put(key, state)
	}
}

// distrust forgets the ticket that was shown, unless only the time was up: that says nothing about it.
func (t *tickets) distrust(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shown != "" && ctx.Err() == nil {
		t.ClientSessionCache.Put(t.shown, nil)
	}
}
