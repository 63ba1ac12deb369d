package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/internal/dial"
	"github.com/devid-agent/devid-agent/sim"
)

// ether is a network that loses packets, as TCP shows it to its users: nothing is missing, and all of it comes late. What
// is lost goes again when a retransmission timer says so, which doubles each time (RFC 6298, 5.5).
type ether struct {
	through dial.Dial

	mu    sync.Mutex
	loss  float64
	dice  *rand.Rand
	dials []time.Time
}

// The timers of Linux: the first of data, the first of a SYN, and the longest (tcp(7), RFC 6298); how long the agent gives
// one address to answer; and how long it lets what it has sent stay unanswered (TCP_USER_TIMEOUT, RFC 5482).
const (
	dataTimer, synTimer, longestTimer = 200 * time.Millisecond, time.Second, 2 * time.Minute
	addressPatience                   = 15 * time.Second
	unanswered                        = 30 * time.Second
)

func (e *ether) lose(part float64) { e.mu.Lock(); defer e.mu.Unlock(); e.loss = part }

// late is how much later something arrives.
func (e *ether) late(timer time.Duration) (d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for d = 20 * time.Millisecond; e.dice.Float64() < e.loss; timer = min(2*timer, longestTimer) {
		d += timer
	}
	return d
}

func (e *ether) dial(ctx context.Context, network, address string) (net.Conn, error) {
	e.mu.Lock()
	e.dials = append(e.dials, time.Now())
	e.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, addressPatience)
	defer stop()
	select {
	case <-time.After(e.late(synTimer)):
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ETIMEDOUT}
	}
	far, err := e.through(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &lateConn{Conn: far, ether: e, up: make(chan parcel, 1<<12), down: make(chan parcel, 1<<12), gone: make(chan struct{})}
	go c.carry()
	go c.fetch()
	return c, nil
}

// most is how often somebody dialed within an hour at most.
func (e *ether) most() (most int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, from := range e.dials {
		n := i
		for n < len(e.dials) && e.dials[n].Before(from.Add(time.Hour)) {
			n++
		}
		most = max(most, n-i)
	}
	return most
}

// parcel is what one write has put on the way, and when it arrives.
type parcel struct {
	data []byte
	due  time.Time
}

// lateConn is a connection through an ether.
type lateConn struct {
	net.Conn
	ether    *ether
	up, down chan parcel
	last     time.Time // arrival of what was sent before: TCP keeps the order
	left     []byte
	once     sync.Once
	gone     chan struct{}
	why      error
}

func (c *lateConn) Write(b []byte) (int, error) {
	due := time.Now().Add(c.ether.late(dataTimer))
	if due.Before(c.last) {
		due = c.last
	}
	c.last = due
	select {
	case c.up <- parcel{bytes.Clone(b), due}:
	case <-c.gone:
		return 0, c.why
	}
	if time.Until(due) > unanswered {
		time.AfterFunc(unanswered, func() { c.end(syscall.ETIMEDOUT) })
	}
	return len(b), nil
}

func (c *lateConn) Read(b []byte) (int, error) {
	if len(c.left) == 0 {
		select {
		case p, more := <-c.down:
			if !more {
				return 0, io.EOF
			}
			c.left = p.data
		case <-c.gone:
			return 0, c.why
		}
	}
	n := copy(b, c.left)
	c.left = c.left[n:]
	return n, nil
}

// wait reports whether the connection is there at that time.
func (c *lateConn) wait(at time.Time) bool {
	select {
	case <-time.After(time.Until(at)):
		return true
	case <-c.gone:
		return false
	}
}

func (c *lateConn) carry() {
	for {
		select {
		case p := <-c.up:
			if !c.wait(p.due) {
				return
			}
			_, _ = c.Conn.Write(p.data)
		case <-c.gone:
			return
		}
	}
}

// fetch brings what the far side writes, and at last its end.
func (c *lateConn) fetch() {
	ordered := make(chan parcel, 1<<12)
	go func() {
		defer close(c.down)
		for p := range ordered {
			if !c.wait(p.due) {
				return
			}
			if p.data != nil {
				c.down <- p
			}
		}
	}()
	defer close(ordered)
	for last := time.Now(); ; {
		b := make([]byte, 16<<10)
		n, err := c.Conn.Read(b)
		if due := time.Now().Add(c.ether.late(dataTimer)); due.After(last) {
			last = due
		}
		if n > 0 {
			ordered <- parcel{b[:n], last}
		}
		if err != nil {
			ordered <- parcel{nil, last}
			return
		}
	}
}

func (c *lateConn) end(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.gone)
		_ = c.Conn.Close()
	})
}

func (c *lateConn) Close() error { c.end(net.ErrClosed); return nil }

// Deadlines are for a peer that does not take what is written: this one has room for all.
func (c *lateConn) SetDeadline(time.Time) error      { return nil }
func (c *lateConn) SetReadDeadline(time.Time) error  { return nil }
func (c *lateConn) SetWriteDeadline(time.Time) error { return nil }

// TestFault44ALinkThatLosesMostPacketsCarriesLittleAndNothingWrong takes a reading every ten minutes for a day. With eight
// packets of ten lost nearly all of them come through. With nine, a connection alone takes longer than a hub waits for it,
// most times: a few readings a day are what such a link carries.
func TestFault44ALinkThatLosesMostPacketsCarriesLittleAndNothingWrong(t *testing.T) {
	for loss, least := range map[float64]int{0.8: 3 * 130, 0.9: 3 * 2} {
		arrived := 0
		for seed := range uint64(3) {
			inBubble(t, sim.Temper{}, func(g *gateway) { arrived += g.throughLoss(loss, seed) })
		}
		if arrived < least {
			t.Errorf("with %v lost, %d of 432 readings arrived", loss, arrived)
		}
	}
}

// throughLoss is how many of 144 readings arrive in a day on such a link.
func (g *gateway) throughLoss(loss float64, seed uint64) int {
	g.cloud.SetPolicy(func(p *sim.Policy) { p.Life = 30 * 24 * time.Hour })
	e := &ether{through: g.dial, dice: rand.New(rand.NewPCG(44, seed))}
	g.dial = e.dial
	b := g.start(&power{}, nil)
	b.takeFor(10 * time.Minute)
	e.lose(loss)
	before := len(g.distinct())
	for range 144 {
		b.take()
		time.Sleep(10 * time.Minute)
	}
	arrived := len(g.distinct()) - before
	if n := e.most(); n > 130 {
		g.t.Errorf("with %v lost, %d dials in an hour", loss, n)
	}
	e.lose(0)
	b.takeFor(time.Hour)
	for _, wrong := range g.audit() {
		g.t.Error(wrong)
	}
	type sending struct {
		session uint64
		mid     string
	}
	once := map[sending]bool{}
	for _, m := range g.cloud.Received(gatewayID) {
		s := sending{m.Session, m.Properties["$.mid"]}
		if once[s] {
			g.t.Errorf("%s came twice in session %d", s.mid, s.session)
		}
		once[s] = true
	}
	if aside := b.spool.Stats().Aside; aside != 0 {
		g.t.Errorf("%d readings were set aside", aside)
	}
	g.end(b)
	return arrived
}

// distinct is the readings that have arrived, each once.
func (g *gateway) distinct() map[string]bool {
	all := map[string]bool{}
	for _, m := range g.cloud.Received(gatewayID) {
		all[m.Properties["seq"]] = true
	}
	return all
}
