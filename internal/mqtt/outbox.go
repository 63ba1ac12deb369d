package mqtt

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// plenty is how much may wait to be written before Publish does.
const plenty = 64 << 10

// outbox holds what is to be written. Writing never waits for the network: paho's goroutines would wait for each
// other then, and for longer than the session lives. What comes together leaves in one TLS record.
type outbox struct {
	mu      sync.Mutex
	pending []byte
	writing int // bytes taken and not yet written
	ended   bool
	wake    chan struct{} // something is pending, or the end has come
	drained chan struct{} // all that was pending has been written
}

func newOutbox() outbox {
	return outbox{wake: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
}

func (o *outbox) put(p []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, p...)
	ring(o.wake)
	return !o.ended
}

func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	ring(o.wake)
}

// take returns what is pending and keeps spare for what comes next.
func (o *outbox) take(spare []byte) (pending []byte, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pending, o.pending = o.pending, spare[:0]
	o.writing = len(pending)
	return pending, o.ended
}

func (o *outbox) written() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = 0
	ring(o.drained)
}

func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending) + o.writing
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// disconnect is the first byte of a DISCONNECT. It is the only packet that Write sees on its way, because the
// connection is closed right after it.
const disconnect = 14 << 4

func (w *wire) Write(p []byte) (int, error) {
	w.rules.sent(p)
	w.pulse.sending(p)
	if !w.out.put(p) {
		return 0, net.ErrClosed
	}
	if p[0] == disconnect {
		w.drain(quiesce)
	}
	return len(p), nil
}

// flush writes what is pending until the connection ends.
func (w *wire) flush() {
	var spare []byte
	for range w.out.wake {
		runtime.Gosched() // whoever is about to put something in does so first: one record and one system call for all
		pending, ended := w.out.take(spare)
		if ended {
			return
		}
		if _, err := w.Conn.Write(pending); err != nil {
			w.die(err)
		}
		spare = pending
		if cap(spare) > 2*plenty {
			spare = nil // a burst is over: give the memory back
		}
		w.out.written()
	}
}

// drain waits until all is written, or for d.
func (w *wire) drain(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for w.out.size() > 0 {
		select {
		case <-w.out.drained:
		case <-w.dead:
			return
		case <-timer.C:
			return
		}
	}
}
