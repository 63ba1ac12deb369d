package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
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
}

func newQueue() *queue { return &queue{next: 1, ready: make(chan struct{})} }

func (q *queue) add(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range n {
		q.records = append(q.records, spool.Record{Seq: q.next, Stream: "s", Body: []byte("{}")})
		q.next++
	}
	select {
	case <-q.ready:
	default:
		close(q.ready)
	}
}

func (q *queue) Peek(n int) []spool.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]spool.Record(nil), q.records[:min(n, len(q.records))]...)
}

func (q *queue) Ack(seq uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.records) > 0 && q.records[0].Seq <= seq {
		q.records = q.records[1:]
	}
	if len(q.records) == 0 {
		q.ready = make(chan struct{})
	}
	return nil
}

func (q *queue) Ready() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready
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

// set changes the hub while the pump runs.
func (h *hub) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (s *session) end() { s.once.Do(func() { close(s.done) }) }

func (s *session) Send(ctx context.Context, batch []spool.Record) (int, error) {
	sleep(ctx, 50*time.Millisecond)
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for i, r := range batch {
		select {
		case <-s.done:
			return i, errors.New("broken pipe")
		default:
		}
		s.hub.received = append(s.hub.received, fmt.Sprintf("%d:%d", s.gen, r.Seq))
		if s.hub.ackLimit--; s.hub.ackLimit == 0 {
			s.end()
			return i, errors.New("reset before the acknowledgement")
		}
	}
	return len(batch), nil
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
			Queue: q, Dial: h.dial, Log: slog.New(slog.DiscardHandler),
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

func TestAReadingArrivesAndIsForgotten(t *testing.T) {
	h := newHub(1)
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, q *queue) {
		q.add(200)
		pass(5 * time.Second)
		if q.depth() != 0 || len(h.received) != 200 || h.received[199] != "1:200" {
			t.Errorf("%d wait, %d arrived", q.depth(), len(h.received))
		}
		q.add(1) // the pump sleeps by now
		pass(time.Second)
		if q.depth() != 0 || p.Report().State != "online" {
			t.Errorf("a later reading waits; state %s", p.Report().State)
		}
	})
}

func TestALostSessionSendsItsTailAgain(t *testing.T) {
	h := newHub(1)
	h.ackLimit = 30
	pumping(t, h, 1, func(t *testing.T, _ *telemetry.Pump, q *queue) {
		q.add(100)
		pass(time.Minute)
		if q.depth() != 0 || len(h.received) != 101 || h.received[29] != "1:30" || h.received[30] != "1:30" {
			t.Errorf("%d wait, %d arrived: want each once and number 30 twice", q.depth(), len(h.received))
		}
	})
}

func TestSwitchGoesOnAsTheNewIdentity(t *testing.T) {
	h := newHub(1, 2)
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, q *queue) {
		q.add(64)
		pass(time.Second)
		receipt, err := p.Switch(t.Context(), generation(2))
		if err != nil || receipt.Gap != 50*time.Millisecond || receipt.Again != 0 {
			t.Errorf("Switch = %+v, %v: want the gap of one dial", receipt, err)
		}
		q.add(1)
		pass(time.Second)
		if h.received[len(h.received)-1] != "2:65" {
			t.Errorf("last arrived %s", h.received[len(h.received)-1])
		}
		h.session.end() // the pump must come back as who it was last
		pass(time.Minute)
		if h.session.gen != 2 || p.Report().State != "online" {
			t.Errorf("back as %d, %s", h.session.gen, p.Report().State)
		}
	})
}

func TestARefusedSwitchGoesOnAsBefore(t *testing.T) {
	h := newHub(1)
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, q *queue) {
		pass(time.Second)
		_, err := p.Switch(t.Context(), generation(2))
		if !errors.Is(err, telemetry.ErrRefused) || fault.Of(err) != fault.Permanent {
			t.Errorf("Switch = %v (%v)", err, fault.Of(err))
		}
		q.add(1)
		pass(time.Second)
		if len(h.received) != 1 || h.received[0] != "1:1" {
			t.Errorf("arrived: %v", h.received)
		}
	})
}

func TestTheFirstIdentityComesBySwitch(t *testing.T) {
	h := newHub(1)
	pumping(t, h, 0, func(t *testing.T, p *telemetry.Pump, q *queue) {
		q.add(1)
		pass(time.Minute)
		if h.dials != 0 {
			t.Error("dialled as nobody")
		}
		if _, err := p.Switch(t.Context(), generation(1)); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if len(h.received) != 1 {
			t.Errorf("arrived: %v", h.received)
		}
	})
}

func TestThreeRefusalsAreToldOnceAndThenSlow(t *testing.T) {
	h := newHub()
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, _ *queue) {
		<-p.Unknown()
		synctest.Wait()
		if h.dials != 3 || p.Report().State != "refused" {
			t.Errorf("told after %d refusals, state %s", h.dials, p.Report().State)
		}
		pass(30 * time.Minute)
		if h.dials != 3 {
			t.Errorf("%d dials: a refused identity knocks too often", h.dials)
		}
		h.set(func() { h.accepts[1] = true })
		pass(2 * time.Hour)
		if p.Report().State != "online" {
			t.Error("not back, though the hub accepts it again")
		}
	})
}

func TestAnUnreachableHubIsTriedForDaysAndFound(t *testing.T) {
	h := newHub(1)
	h.down = true
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, q *queue) {
		q.add(10)
		pass(72 * time.Hour)
		if h.dials < 72*12 || h.dials > 72*60 {
			t.Errorf("%d dials in three days", h.dials)
		}
		h.set(func() { h.down = false })
		pass(6 * time.Minute)
		if q.depth() != 0 || p.Report().State != "online" {
			t.Errorf("%d wait, state %s", q.depth(), p.Report().State)
		}
	})
}

func TestTwoAgentsWithOneIdentityDoNotFightAtFullSpeed(t *testing.T) {
	h := newHub(1)
	pumping(t, h, 1, func(*testing.T, *telemetry.Pump, *queue) {
		for range 3600 {
			pass(time.Second)
			h.set(func() {
				if h.session != nil {
					h.session.end() // the other one has connected
				}
			})
		}
		if h.dials > 60 {
			t.Errorf("%d dials in an hour", h.dials)
		}
	})
}

// barren says that it has something, and hands out nothing: a damaged medium.
type barren struct{ asked atomic.Int64 }

func (b *barren) Peek(int) []spool.Record { b.asked.Add(1); return nil }
func (b *barren) Ack(uint64) error        { return nil }
func (b *barren) Ready() <-chan struct{} {
	ready := make(chan struct{})
	close(ready)
	return ready
}

func TestAQueueThatGivesNothingBackDoesNotMakeThePumpSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		q := &barren{}
		p := telemetry.NewPump(telemetry.PumpConfig{
			Queue: q, Dial: newHub(1).dial, Log: slog.New(slog.DiscardHandler),
			Current: func() *identity.Identity { return generation(1) },
		})
		var wait sync.WaitGroup
		wait.Go(func() { _ = p.Run(ctx) })
		pass(time.Minute)
		if n := q.asked.Load(); n < 30 || n > 70 {
			t.Errorf("asked %d times in a minute", n)
		}
		stop()
		wait.Wait()
	})
}

func TestLendWaitsForASession(t *testing.T) {
	h := newHub(1)
	h.down = true
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, _ *queue) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.Lend(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lend without a session: %v", err)
		}
		h.set(func() { h.down = false })
		if c, err := p.Lend(t.Context()); err != nil || c != telemetry.Conn(h.session) {
			t.Errorf("Lend = %v, %v", c, err)
		}
	})
}
