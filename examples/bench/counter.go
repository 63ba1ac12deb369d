package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// counter is the independent witness: a subscriber of the broker that shares no code with any sender.
type counter struct {
	conn net.Conn

	mu       sync.Mutex
	seen     []uint8 // how often each number came, from first on
	first    int
	tally    tally
	previous time.Time // arrival of the last message
	err      error
}

// tally is what has come since expect.
type tally struct {
	messages int
	unique   int // different readings
	repeated int // readings that came again, each time
	wrong    int // readings that are not what was handed over
	stray    int // readings that nobody expects
	began    time.Time
	opened   time.Time     // arrival of the first reading that was new,
	last     time.Time     // and of the last
	gap      time.Duration // longest time between two messages
}

// startCounter subscribes to everything at the plain listener of a broker.
func startCounter(ctx context.Context, address string) (*counter, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &counter{conn: conn}
	r := bufio.NewReaderSize(conn, 256<<10)
	if _, err := conn.Write(appendSubscribe(appendConnect(nil, "counter"), "#")); err != nil {
		return nil, err
	}
	for _, kind := range []byte{packConnack, packSuback} {
		p, err := readPacket(r, nil)
		if err != nil || p.kind != kind || p.body[len(p.body)-1] != 0 {
			return nil, fmt.Errorf("subscribe at %s: %x %x: %w", address, p.kind, p.body, err)
		}
	}
	go c.listen(r)
	return c, nil
}

func (c *counter) close() { _ = c.conn.Close() }

// expect forgets what was, and counts n readings from first on.
func (c *counter) expect(first, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first, c.seen = first, make([]uint8, n)
	c.tally = tally{began: time.Now()}
	c.previous = time.Time{}
}

// watchGap measures the longest silence anew, from now on.
func (c *counter) watchGap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.gap, c.previous = 0, time.Time{}
}

func (c *counter) listen(r *bufio.Reader) {
	buffer := make([]byte, 64<<10)
	for {
		p, err := readPacket(r, buffer)
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		}
		if topic, payload, err := p.payload(); err == nil {
			c.message(time.Now(), topic, payload)
		}
	}
}

// message counts what one message has in it; the hub's property for it says whether it is packed.
func (c *counter) message(now time.Time, topic, payload []byte) {
	if bytes.Contains(topic, []byte("%24.ce=gzip")) {
		payload = unpack(payload)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.messages++
	if !c.previous.IsZero() {
		c.tally.gap = max(c.tally.gap, now.Sub(c.previous))
	}
	c.previous = now
	scan(payload, func(n int, whole bool) { c.note(now, n, whole) })
}

func unpack(payload []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(io.LimitReader(r, maxPacket))
	return out
}

func (c *counter) note(now time.Time, n int, whole bool) {
	n -= c.first
	switch {
	case !whole:
		c.tally.wrong++
	case n < 0 || n >= len(c.seen):
		c.tally.stray++
	case c.seen[n] > 0:
		c.tally.repeated++
	default:
		c.seen[n] = 1
		c.tally.unique++
		if c.tally.opened.IsZero() {
			c.tally.opened = now
		}
		c.tally.last = now
	}
}

// now is the tally so far.
func (c *counter) now() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tally
}

// missing is how many of the numbers have not come.
func (c *counter) missing(numbers []int) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, number := range numbers {
		if i := number - c.first; i < 0 || i >= len(c.seen) || c.seen[i] == 0 {
			n++
		}
	}
	return n
}

// await returns when n different readings have come, or none has for as long as patience is.
func (c *counter) await(ctx context.Context, n int, patience time.Duration) (tally, error) {
	moved, before := time.Now(), -1
	for {
		t := c.now()
		switch {
		case t.unique >= n:
			return t, nil
		case t.unique != before:
			before, moved = t.unique, time.Now()
		case time.Since(moved) > patience:
			return t, nil
		}
		select {
		case <-ctx.Done():
			return t, fmt.Errorf("waited for %d readings, %d came: %w", n, t.unique, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
