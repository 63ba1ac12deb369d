package mqtt

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// meddler cuts, stalls or damages what the server says, after so many bytes of the raw stream.
type meddler struct {
	net.Conn
	after int
	how   string
	stall chan struct{}
	once  sync.Once
}

func (m *meddler) Read(b []byte) (int, error) {
	if m.after <= 0 && m.how != "flips a bit" {
		return 0, m.end()
	}
	n, err := m.Conn.Read(b[:min(len(b), max(m.after, 1))])
	if m.how == "flips a bit" && m.after > 0 && m.after <= n {
		b[m.after-1] ^= 0x10
	}
	m.after -= n
	return n, err
}

func (m *meddler) end() error {
	switch m.how {
	case "resets":
		return &net.OpError{Op: "read", Err: fmt.Errorf("connection reset by peer")}
	case "stalls":
		<-m.stall
	}
	return io.EOF
}

func (m *meddler) Close() error {
	m.once.Do(func() { close(m.stall) })
	return m.Conn.Close()
}

// TestFault38MeddlerAtAnyByteOfTheStreamLosesNoPromise plays a session through somebody who meddles with the server's
// bytes under TLS, at places all over the stream: nothing hangs, and nothing counts as sent that the server does not have.
func TestFault38MeddlerAtAnyByteOfTheStreamLosesNoPromise(t *testing.T) {
	for _, how := range []string{"cuts", "resets", "stalls", "flips a bit"} {
		t.Run(how, func(t *testing.T) {
			reached := 0
			for after := 1; after < 2400; after += 31 {
				lingering(t, func(t *testing.T) { reached += meddle(t, how, after) })
			}
			if reached == 0 {
				t.Error("no session came about: the places are wrong")
			}
		})
	}
}

func meddle(t *testing.T, how string, after int) (sessions int) {
	var mu sync.Mutex
	has := map[string]bool{}
	w := newWorld(t, func(p *peer) {
		p.accept()
		for {
			kind, body, err := p.read()
			if err != nil {
				return
			}
			if kind == publish {
				mu.Lock()
				has[string(body[5:])] = true
				mu.Unlock()
				p.send(puback<<4, 2, body[3], body[4])
			}
		}
	})
	dial := w.Options.Dial
	w.Options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return &meddler{Conn: c, after: after, how: how, stall: make(chan struct{})}, err
	}
	start := time.Now()
	c, err := Dial(t.Context(), w.Options)
	if err == nil {
		sessions = 1
		var flights []*Flight
		for i := range 20 {
			flights = append(flights, c.Publish("t", fmt.Append(nil, i)))
		}
		<-c.Done()
		for i, f := range flights {
			mu.Lock()
			if f.Wait(t.Context()) == nil && !has[fmt.Sprint(i)] {
				t.Errorf("after %d bytes: message %d counts as sent, and is not there", after, i)
			}
			mu.Unlock()
		}
		c.Close()
	}
	if took := time.Since(start); took > 3*time.Minute {
		t.Errorf("after %d bytes: it took %v", after, took)
	}
	return sessions
}
