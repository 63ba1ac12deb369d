package mqtt

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a connection that lets through only what an MQTT 3.1.1 server may send, whole packets of a sane size, and
// remembers how it ended. paho is not so careful: a SUBACK with a code too many is a panic there, and a claimed
// length is memory taken.
type wire struct {
	net.Conn          // TLS, or the WebSocket in it
	link     *paced   // TLS
	raw      net.Conn // under it: closed without TLS's goodbye, which may block
	in       *bufio.Reader
	packet   []byte // what is left of the packet being read
	memory   []byte // where it is, and the next one will be
	rules    rules
	out      outbox
	pulse    pulse

	closed atomic.Bool
	once   sync.Once
	err    error
	dead   chan struct{} // closed after err is set
}

func newWire(raw net.Conn, link *paced, stream net.Conn) *wire {
	w := &wire{
		Conn:  stream,
		link:  link,
		raw:   raw,
		in:    bufio.NewReader(stream),
		rules: rules{subscribing: make(map[uint16]bool)},
		out:   newOutbox(),
		dead:  make(chan struct{}),
	}
	go w.flush()
	return w
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.packet) == 0 {
		if err := w.next(); err != nil {
			return 0, w.die(err)
		}
	}
	n := copy(p, w.packet)
	w.packet = w.packet[n:]
	return n, nil
}

// next reads one packet and holds it against the rules. Whoever reads copies: the memory serves for the one after, too.
func (w *wire) next() error {
	head, length, err := header(w.in, w.memory[:0])
	if err != nil {
		return err
	}
	packet := slices.Grow(head, length)[:len(head)+length]
	if w.memory = packet; cap(packet) > plenty {
		w.memory = nil // one large message: give the memory back
	}
	body := packet[len(head):]
	if _, err := io.ReadFull(w.in, body); err != nil {
		return err
	}
	if err := w.rules.received(head[0], body); err != nil {
		return fmt.Errorf("the server breaks the protocol: %w", err)
	}
	w.packet = packet
	w.pulse.heard()
	return nil
}

// Close ends the connection at once.
func (w *wire) Close() error {
	if w.closed.Swap(true) {
		return nil
	}
	w.out.end()
	return w.raw.Close()
}

// The deadline of writes is ours alone.
func (w *wire) SetDeadline(t time.Time) error    { return w.Conn.SetReadDeadline(t) }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// die remembers the first reason why the connection is over, and returns err.
func (w *wire) die(err error) error {
	w.once.Do(func() {
		w.err = err
		close(w.dead)
	})
	return err
}

// why is the reason that die remembers.
func (w *wire) why() error {
	select {
	case <-w.dead:
		return w.err
	default:
		return errors.New("the session has ended")
	}
}
