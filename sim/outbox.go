package sim

import (
	"sync"
	"time"
)

// unread is how long a device may leave the cloud's packets unread.
const unread = 10 * time.Second

// outbox writes packets to a device in order, each when the latency is over. Sending never waits.
type outbox struct {
	link *link
	done chan struct{} // closed when run has returned
	wake chan struct{}

	mu    sync.Mutex
	mail  []letter
	ended bool // nothing comes after what is there
}

type letter struct {
	due    time.Time
	packet []byte
}

func newOutbox(l *link) *outbox {
	return &outbox{link: l, done: make(chan struct{}), wake: make(chan struct{}, 1)}
}

func (o *outbox) send(packet []byte) { o.sendIn(packet, 0) }

// sendIn lets everything behind the packet wait, too.
func (o *outbox) sendIn(packet []byte, wait time.Duration) {
	due := time.Now().Add(time.Duration(o.link.cloud.latency.Load()) + wait)
	o.put(letter{due, packet})
}

func (o *outbox) put(l letter) {
	o.mu.Lock()
	if !o.ended {
		o.mail = append(o.mail, l)
	}
	o.mu.Unlock()
	o.ring()
}

func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// last says that nothing comes after what was sent: when that is written, the connection ends.
func (o *outbox) last() {
	o.mu.Lock()
	o.ended = true
	o.mu.Unlock()
	o.ring()
}

// finish is last, and returns when it is so.
func (o *outbox) finish() {
	o.last()
	<-o.done
}

func (o *outbox) run() {
	defer close(o.done)
	defer o.link.kill()
	for {
		l, ok := o.next()
		if !ok || !o.link.sleepUntil(l.due) {
			return
		}
		o.link.raw.SetWriteDeadline(time.Now().Add(unread))
		if _, err := o.link.stream.Write(l.packet); err != nil {
			return
		}
	}
}

func (o *outbox) next() (letter, bool) {
	for {
		o.mu.Lock()
		if len(o.mail) > 0 {
			l := o.mail[0]
			o.mail = o.mail[1:]
			o.mu.Unlock()
			return l, true
		}
		ended := o.ended
		o.mu.Unlock()
		if ended {
			return letter{}, false
		}
		select {
		case <-o.wake:
		case <-o.link.gone:
			return letter{}, false
		}
	}
}

// sleepUntil reports whether the connection lived to see t.
func (l *link) sleepUntil(t time.Time) bool {
	wait := time.Until(t)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.gone:
		return false
	}
}
