package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// queue is a spool in memory.
type queue struct {
	mu      sync.Mutex
	records []spool.Record
	next    uint64
	ready   chan struct{}
	told    bool // ready is closed
	aside   []uint64
}

func newQueue() *queue { return &queue{next: 1} }

func (q *queue) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range n {
		q.records = append(q.records, spool.Record{Seq: q.next, Time: time.Now(), Stream: "s", Body: []byte("{}")})
		q.next++
	}
	if q.ready != nil && !q.told {
		close(q.ready)
		q.told = true
	}
}

func (q *queue) Peek(n int) []spool.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]spool.Record(nil), q.records[:min(n, len(q.records))]...)
}

func (q *queue) After(seq uint64, n, _ int) []spool.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := 0
	for i < len(q.records) && q.records[i].Seq <= seq {
		i++
	}
	return append([]spool.Record(nil), q.records[i:min(i+n, len(q.records))]...)
}

func (q *queue) Aside(seq uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.aside = append(q.aside, seq)
	q.records = slices.DeleteFunc(q.records, func(r spool.Record) bool { return r.Seq == seq })
	return nil
}

func (q *queue) Ack(seq uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.records) > 0 && q.records[0].Seq <= seq {
		q.records = q.records[1:]
	}
	return nil
}

func (q *queue) Ready() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready == nil || q.told && len(q.records) == 0 {
		q.ready, q.told = make(chan struct{}), false // here, since a channel belongs to the bubble that made it
	}
	if len(q.records) > 0 && !q.told {
		close(q.ready)
		q.told = true
	}
	return q.ready
}

// expire takes the n oldest away: their time is over.
func (q *queue) expire(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.records = q.records[n:]
}

func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.records)
}

// hub is the far side: one session per device, and a list of generations that it accepts.
type hub struct {
	mu       sync.Mutex
	accepts  map[uint64]bool
	down     bool
	dials    int
	received []string // "generation:seq"
	ackLimit int      // acknowledgements until the session is lost; 0 is no limit
	session  *session

	messages int // what received is made of
	limits   telemetry.Limits
	delay    time.Duration // acknowledgements come so much later
	deaf     bool          // there are none
	mute     map[int]bool  // messages that are not acknowledged, by their number; only once
	rings    bool          // the pump is told of news
	news     chan struct{}
	quota    bool            // every message ends the session, and does not arrive
	poison   map[uint64]bool // readings of stream "s" that end the session
}

type session struct {
	hub  *hub
	gen  uint64
	done chan struct{}
	once sync.Once
}

func newHub(accepts ...uint64) *hub {
	h := &hub{accepts: map[uint64]bool{}}
	for _, g := range accepts {
		h.accepts[g] = true
	}
	return h
}

func (h *hub) dial(ctx context.Context, id *identity.Identity) (telemetry.Conn, error) {
	if !sleep(ctx, 50*time.Millisecond) {
		return nil, ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials++
	if h.down {
		return nil, errors.New("no route")
	}
	if !h.accepts[id.Generation] {
		return nil, fault.As(fault.Permanent, fmt.Errorf("connack 5: %w", telemetry.ErrRefused))
	}
	if h.session != nil {
		h.session.end()
	}
	h.session = &session{hub: h, gen: id.Generation, done: make(chan struct{})}
	return h.session, nil
}

// sent is how many readings have arrived, repeats included.
func (h *hub) sent() int { h.mu.Lock(); defer h.mu.Unlock(); return len(h.received) }

// dialled is how many sessions were asked for.
func (h *hub) dialled() int { h.mu.Lock(); defer h.mu.Unlock(); return h.dials }

// set changes the hub while the pump runs.
func (h *hub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (s *session) end() { s.once.Do(func() { close(s.done) }) }

// trip is how long an acknowledgement takes.
const trip = 50 * time.Millisecond

func (s *session) Send(lane *telemetry.Lane, records []spool.Record) (int, telemetry.Flight, error) {
	n := 1
	for n < len(records) && n < lane.Pack.Bytes/100 { // a hundred bytes a reading
		n++
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for _, r := range records[:n] {
		if r.Stream == "too large" {
			return 0, nil, fault.As(fault.Permanent, errors.New("too large"))
		}
	}
	if s.hub.quota {
		s.end()
	}
	f := &flight{session: s, landed: make(chan struct{})}
	for _, r := range records[:n] {
		if !s.over() {
			s.hub.received = append(s.hub.received, fmt.Sprintf("%d:%s%d", s.gen, lane.Name, r.Seq))
			s.hub.messages++
		}
		if s.hub.ackLimit--; s.hub.ackLimit == 0 || s.hub.poison[r.Seq] && r.Stream == "s" {
			s.end()
		}
	}
	if s.over() || s.hub.mute[s.hub.messages] {
		return n, f, nil
	}
	time.AfterFunc(trip+s.hub.delay, func() {
		s.hub.mu.Lock()
		defer s.hub.mu.Unlock()
		if !s.over() && !s.hub.deaf {
			close(f.landed)
		}
	})
	return n, f, nil
}

// flight is a message whose acknowledgement comes when the session lives for so long.
type flight struct {
	session *session
	landed  chan struct{}
}

func (f *flight) Wake() <-chan struct{} { return f.landed }

func (f *flight) Landed() bool {
	select {
	case <-f.landed:
		return true
	default:
		return false
	}
}

func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *session) Limits() telemetry.Limits { return s.hub.limits }

func (s *session) Err() error {
	if !s.over() {
		return nil
	}
	return fmt.Errorf("%w: EOF", telemetry.ErrHungUp)
}

func (s *session) Done() <-chan struct{} { return s.done }
func (s *session) Close() error          { s.end(); return nil }

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// pumping runs a pump as generation gen (0 is nobody) in a bubble, and the story beside it.
func pumping(t *testing.T, h *hub, gen uint64, story func(t *testing.T, p *telemetry.Pump, q *queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		q := newQueue()
		p := telemetry.NewPump(telemetry.PumpConfig{
			Lanes: []telemetry.Lane{{Name: "usual", Queue: q}}, Dial: h.dial, Log: slog.New(slog.DiscardHandler),
			Current: func() *identity.Identity { return generation(gen) },
		})
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Run = %v", err)
			}
		})
		story(t, p, q)
		stop()
		wait.Wait()
	})
}

// wantInOrder wants each reading of a lane once at least, for the first time in order, and not more repeats than that.
func (h *hub) wantInOrder(t *testing.T, lane string, n, repeats int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	next, again := 1, 0
	for _, r := range h.received {
		var gen, seq int
		if _, err := fmt.Sscanf(r, "%d:"+lane+"%d", &gen, &seq); err != nil {
			continue
		}
		switch {
		case seq == next:
			next++
		case seq < next:
			again++
		default:
			t.Fatalf("%d came when %d was due", seq, next)
		}
	}
	if next != n+1 || again > repeats {
		t.Errorf("lane %s: %d of %d arrived, %d repeats", lane, next-1, n, again)
	}
}

// pumpingWith runs a pump of generation 1 over these lanes in a bubble, and the story beside it.
func pumpingWith(t *testing.T, h *hub, c telemetry.PumpConfig, story func(t *testing.T, p *telemetry.Pump)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		c.Dial, c.Log = h.dial, slog.New(slog.DiscardHandler)
		if h.rings {
			h.news = make(chan struct{}, 1)
			c.News = h.news
		}
		if c.Current == nil {
			c.Current = func() *identity.Identity { return generation(1) }
		}
		p := telemetry.NewPump(c)
		var wait sync.WaitGroup
		wait.Go(func() { _ = p.Run(ctx) })
		story(t, p)
		stop()
		wait.Wait()
	})
}

func laneOf(name string, q *queue) telemetry.Lane { return telemetry.Lane{Name: name, Queue: q} }

// pass lets time go by, and returns when the pump has done all that was to do.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func generation(g uint64) *identity.Identity {
	if g == 0 {
		return nil
	}
	return &identity.Identity{Generation: g, Key: fmt.Sprint("device-g", g)}
}
