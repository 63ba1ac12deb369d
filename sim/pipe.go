package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// newPipe returns the two ends of a connection in memory. Unlike net.Pipe it has a buffer, as a socket has:
// both sides of a TLS connection may write at the same time.
func newPipe(nearName, farName string) (near, far net.Conn) {
	a, b := newStream(), newStream()
	return &pipeEnd{in: a, out: b, local: addr(nearName), remote: addr(farName)},
		&pipeEnd{in: b, out: a, local: addr(farName), remote: addr(nearName)}
}

type addr string

func (addr) Network() string  { return "memory" }
func (a addr) String() string { return string(a) }

type pipeEnd struct {
	in, out       *stream
	local, remote addr
}

func (p *pipeEnd) Read(b []byte) (int, error)  { return p.in.read(b) }
func (p *pipeEnd) Write(b []byte) (int, error) { return p.out.write(b) }
func (p *pipeEnd) LocalAddr() net.Addr         { return p.local }
func (p *pipeEnd) RemoteAddr() net.Addr        { return p.remote }

func (p *pipeEnd) Close() error {
	p.in.closeRead()
	p.out.closeWrite()
	return nil
}

func (p *pipeEnd) CloseWrite() error {
	p.out.closeWrite()
	return nil
}

func (p *pipeEnd) SetDeadline(t time.Time) error {
	p.SetReadDeadline(t)
	return p.SetWriteDeadline(t)
}

func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.in.setDeadline(&p.in.readBy, t)
	return nil
}

func (p *pipeEnd) SetWriteDeadline(t time.Time) error {
	p.out.setDeadline(&p.out.writeBy, t)
	return nil
}

// streamRoom is how much one direction holds before its writer has to wait, about a socket's buffer.
const streamRoom = 256 << 10

// stream is one direction.
type stream struct {
	mu              sync.Mutex
	change          *sync.Cond
	data            []byte
	ended           bool // the writer has closed: what is left can still be read
	deaf            bool // the reader has closed
	readBy, writeBy deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newStream() *stream {
	s := &stream{}
	s.change = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.deaf:
			return 0, net.ErrClosed
		case s.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(s.data) > 0:
			n := copy(b, s.data)
			s.data = s.data[n:]
			s.change.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.change.Wait()
	}
}

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(b) > 0 {
		switch room := streamRoom - len(s.data); {
		case s.ended:
			return n, net.ErrClosed
		case s.deaf:
			return n, io.ErrClosedPipe
		case s.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case room > 0:
			k := min(room, len(b))
			s.data = append(s.data, b[:k]...)
			b, n = b[k:], n+k
			s.change.Broadcast()
			continue
		}
		s.change.Wait()
	}
	return n, nil
}

func (s *stream) setDeadline(d *deadline, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadline{at: t}
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, s.wake)
	}
	s.change.Broadcast()
}

func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change.Broadcast()
}

func (s *stream) closeRead()  { s.end(&s.deaf, &s.readBy) }
func (s *stream) closeWrite() { s.end(&s.ended, &s.writeBy) }

func (s *stream) end(flag *bool, d *deadline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*flag = true
	if d.timer != nil {
		d.timer.Stop()
	}
	s.change.Broadcast()
}
