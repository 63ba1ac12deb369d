package mqtt

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// slowLink is a link of 1 KB/s each way and a round trip of 5 s, as of a bad radio.
type slowLink struct {
	net.Conn
	up, down chan parcel
	mu       sync.Mutex
	limit    time.Time // of writes
	left     []byte
	gone     chan struct{}
	once     sync.Once
}

// parcel is what arrives at due.
type parcel struct {
	data []byte
	due  time.Time
}

const (
	mouthful = 100 // bytes
	tenth    = time.Second / 10
	oneWay   = 2500 * time.Millisecond
)

func newSlowLink(c net.Conn) *slowLink {
	l := &slowLink{Conn: c, up: make(chan parcel, 1<<16), down: make(chan parcel, 1<<16), gone: make(chan struct{})}
	go func() {
		for {
			select {
			case p := <-l.up:
				<-time.After(time.Until(p.due))
				_, _ = c.Write(p.data)
			case <-l.gone:
				return
			}
		}
	}()
	go func() {
		defer close(l.down)
		for {
			b := make([]byte, mouthful)
			n, err := c.Read(b)
			if err != nil {
				return
			}
			<-time.After(tenth * time.Duration(n) / mouthful)
			l.down <- parcel{b[:n], time.Now().Add(oneWay)}
		}
	}()
	return l
}

func (l *slowLink) Write(b []byte) (written int, err error) {
	for written < len(b) {
		l.mu.Lock()
		limit := l.limit
		l.mu.Unlock()
		if !limit.IsZero() && time.Now().After(limit) {
			return written, os.ErrDeadlineExceeded
		}
		n := min(mouthful, len(b)-written)
		<-time.After(tenth * time.Duration(n) / mouthful)
		select {
		case l.up <- parcel{bytes.Clone(b[written : written+n]), time.Now().Add(oneWay)}:
		case <-l.gone:
			return written, net.ErrClosed
		}
		written += n
	}
	return written, nil
}

func (l *slowLink) Read(b []byte) (int, error) {
	if len(l.left) == 0 {
		p, ok := <-l.down
		if !ok {
			return 0, io.EOF
		}
		<-time.After(time.Until(p.due))
		l.left = p.data
	}
	n := copy(b, l.left)
	l.left = l.left[n:]
	return n, nil
}

func (l *slowLink) Close() error {
	l.once.Do(func() { close(l.gone) })
	return l.Conn.Close()
}

func (l *slowLink) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = t
	return nil
}
func (l *slowLink) SetReadDeadline(time.Time) error { return nil }
func (l *slowLink) SetDeadline(t time.Time) error   { return l.SetWriteDeadline(t) }
