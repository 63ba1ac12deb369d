package main

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy stands between a client and a server: it delays, it counts, and it can be cut.
type proxy struct {
	target   string
	delay    time.Duration // each way; the TCP handshake is not delayed
	listener net.Listener
	up, down atomic.Int64 // bytes of TCP payload, from the client and to it

	mu       sync.Mutex
	away     bool
	open     map[net.Conn]bool
	accepted []time.Time
}

// startProxy listens on a free port of the loopback.
func startProxy(target string, delay time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{target: target, delay: delay, listener: l, open: map[net.Conn]bool{}}
	go p.serve()
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
}

// cut ends all connections, with a reset, as a network does that goes away.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		reset(c)
	}
}

// setAway cuts, and turns everybody away until it is called with false.
func (p *proxy) setAway(away bool) {
	p.mu.Lock()
	p.away = away
	p.mu.Unlock()
	if away {
		p.cut()
	}
}

// connections are the times at which a client was let in.
func (p *proxy) connections() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.accepted...)
}

func (p *proxy) serve() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.join(c)
	}
}

func (p *proxy) join(client net.Conn) {
	if !p.admit(client) {
		reset(client)
		return
	}
	defer p.leave(client)
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { p.carry(server, client, &p.up) })
	both.Go(func() { p.carry(client, server, &p.down) })
	both.Wait()
}

func (p *proxy) admit(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return false
	}
	p.open[c] = true
	p.accepted = append(p.accepted, time.Now())
	return true
}

func (p *proxy) leave(c net.Conn) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	_ = c.Close()
}

// chunk is what was read at once, and when it is to be written.
type chunk struct {
	due   time.Time
	bytes []byte
}

// carry moves bytes one way, and ends both ways when one ends.
func (p *proxy) carry(to, from net.Conn, count *atomic.Int64) {
	way := make(chan chunk, 1<<14)
	var writer sync.WaitGroup
	writer.Go(func() {
		for c := range way {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.bytes); err != nil {
				reset(from)
			}
		}
		_ = to.Close()
	})
	for {
		b := make([]byte, 16<<10)
		n, err := from.Read(b)
		if n > 0 {
			count.Add(int64(n))
			way <- chunk{time.Now().Add(p.delay), b[:n]}
		}
		if err != nil {
			close(way)
			writer.Wait()
			return
		}
	}
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
