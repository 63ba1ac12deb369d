package ingest

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// hurry is how long a client may say nothing at all while others wait for its place: a program that forgets its
// connections opens thousands, and each would have its place until headerTimeout.
const hurry = 250 * time.Millisecond

// limit is l with at most n connections open at a time.
func limit(l net.Listener, n int, log *slog.Logger) *limited {
	return &limited{Listener: l, room: make(chan struct{}, n), closed: make(chan struct{}), log: log, guests: make(map[*guest]struct{})}
}

type limited struct {
	net.Listener
	room   chan struct{}
	closed chan struct{}
	once   sync.Once
	log    *slog.Logger
	quiet  quiet

	mu     sync.Mutex
	guests map[*guest]struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	if !l.enter() {
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	g := &guest{Conn: c, of: l, since: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guests[g] = struct{}{}
	return g, nil
}

// enter waits for room; false when there will be none.
func (l *limited) enter() bool {
	if len(l.room) == cap(l.room) && l.quiet.first("") {
		l.log.Warn("no further client is served until one goes", "clients", cap(l.room))
	}
	for {
		wait := time.NewTimer(hurry)
		select {
		case l.room <- struct{}{}:
			wait.Stop()
			return true
		case <-l.closed:
			wait.Stop()
			return false
		case <-wait.C:
			l.clear()
		}
	}
}

// clear hangs up on those that have said nothing yet.
func (l *limited) clear() {
	for _, g := range l.silent() {
		_ = g.Close()
	}
}

func (l *limited) silent() (all []*guest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for g := range l.guests {
		if !g.spoke.Load() && time.Since(g.since) >= hurry {
			all = append(all, g)
		}
	}
	return all
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type guest struct {
	net.Conn
	of    *limited
	since time.Time
	spoke atomic.Bool
}

// Read is that of the connection.
func (g *guest) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if n > 0 {
		g.spoke.Store(true)
	}
	return n, err
}

func (g *guest) Close() error {
	err := g.Conn.Close()
	g.of.mu.Lock()
	_, here := g.of.guests[g]
	delete(g.of.guests, g)
	g.of.mu.Unlock()
	if here {
		<-g.of.room
	}
	return err
}
