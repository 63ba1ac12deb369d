package web

import (
	"net"
	"sync"
	"syscall"
)

// buffered is one end of a connection that takes writes without waiting for the reader, as TCP does: over a bare
// net.Pipe two sides that speak at once wait for each other.
type buffered struct {
	net.Conn
	out    chan []byte
	broken chan struct{} // the other side has hung up
	closed chan struct{}
	once   sync.Once
}

func newPipe(running *sync.WaitGroup) (near, far net.Conn) {
	a, b := net.Pipe()
	return newBuffered(a, running), newBuffered(b, running)
}

func newBuffered(c net.Conn, running *sync.WaitGroup) *buffered {
	b := &buffered{Conn: c, out: make(chan []byte, 64), broken: make(chan struct{}), closed: make(chan struct{})}
	running.Go(b.send)
	return b
}

func (b *buffered) send() {
	defer b.Conn.Close()
	for {
		select {
		case p := <-b.out:
			if _, err := b.Conn.Write(p); err != nil {
				close(b.broken)
				<-b.closed
				return
			}
		case <-b.closed:
			b.flush()
			return
		}
	}
}

// flush lets what was written before the end arrive.
func (b *buffered) flush() {
	for {
		select {
		case p := <-b.out:
			if _, err := b.Conn.Write(p); err != nil {
				return
			}
		default:
			return
		}
	}
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case b.out <- append([]byte{}, p...):
		return len(p), nil
	case <-b.broken:
	case <-b.closed:
	}
	return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
}

func (b *buffered) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}
