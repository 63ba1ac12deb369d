package telemetry_test

import (
	"context"
	"errors"
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

func TestAReadingArrivesAndIsForgotten(t *testing.T) {
	h := newHub(1)
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, q *queue) {
		q.add(200)
		pass(5 * time.Second)
		if q.depth() != 0 || h.sent() != 200 || h.received[199] != "1:usual200" {
			t.Errorf("%d wait, %d arrived", q.depth(), h.sent())
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
		h.wantInOrder(t, "usual", 100, 16)
		if q.depth() != 0 {
			t.Errorf("%d wait", q.depth())
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
		if h.received[h.sent()-1] != "2:usual65" {
			t.Errorf("last arrived %s", h.received[h.sent()-1])
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
		if h.sent() != 1 || h.received[0] != "1:usual1" {
			t.Errorf("arrived: %v", h.received)
		}
	})
}

func TestTheFirstIdentityComesBySwitch(t *testing.T) {
	h := newHub(1)
	pumping(t, h, 0, func(t *testing.T, p *telemetry.Pump, q *queue) {
		q.add(1)
		pass(time.Minute)
		if h.dialled() != 0 {
			t.Error("dialled as nobody")
		}
		if _, err := p.Switch(t.Context(), generation(1)); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if h.sent() != 1 {
			t.Errorf("arrived: %v", h.received)
		}
	})
}

func TestFault17ThreeRefusalsAreToldOnceAndThenSlow(t *testing.T) {
	h := newHub()
	pumping(t, h, 1, func(t *testing.T, p *telemetry.Pump, _ *queue) {
		<-p.Unknown()
		synctest.Wait()
		if h.dialled() != 3 || p.Report().State != "refused" {
			t.Errorf("told after %d refusals, state %s", h.dialled(), p.Report().State)
		}
		pass(30 * time.Minute)
		if h.dialled() != 3 {
			t.Errorf("%d dials: a refused identity knocks too often", h.dialled())
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
		if h.dialled() < 72*12 || h.dialled() > 72*60 {
			t.Errorf("%d dials in three days", h.dialled())
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
		if h.dialled() > 60 {
			t.Errorf("%d dials in an hour", h.dialled())
		}
	})
}

// barren says that it has something, and hands out nothing: a damaged medium.
type barren struct{ asked atomic.Int64 }

func (b *barren) Peek(int) []spool.Record { return nil }
func (b *barren) Ack(uint64) error        { return nil }
func (b *barren) Aside(uint64) error      { return nil }

func (b *barren) After(uint64, int, int) []spool.Record { b.asked.Add(1); return nil }

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
			Lanes: []telemetry.Lane{{Name: "usual", Queue: q}}, Dial: newHub(1).dial, Log: slog.New(slog.DiscardHandler),
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
