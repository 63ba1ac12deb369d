package iothub

import (
	"context"
	"crypto"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// shelf is a queue in memory.
type shelf struct {
	mu    sync.Mutex
	all   []spool.Record
	aside []uint64
	ready chan struct{}
}

func newShelf(n int) *shelf {
	s := &shelf{all: records(n), ready: make(chan struct{})}
	close(s.ready)
	return s
}

func (s *shelf) Peek(n int) []spool.Record { return s.After(0, n, 1<<20) }
func (s *shelf) Ready() <-chan struct{}    { return s.ready }

func (s *shelf) After(seq uint64, n, _ int) (some []spool.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if r.Seq > seq && len(some) < n {
			some = append(some, r)
		}
	}
	return some
}

func (s *shelf) Ack(seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.all) > 0 && s.all[0].Seq <= seq {
		s.all = s.all[1:]
	}
	return nil
}

func (s *shelf) Aside(seq uint64) error {
	s.mu.Lock()
	s.aside = append(s.aside, seq)
	s.mu.Unlock()
	return nil
}

func (s *shelf) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// pump runs a pump for so long, and the stories beside it.
func (w *world) pump(lane telemetry.Lane, d time.Duration, stories ...func(p *telemetry.Pump)) {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	p := telemetry.NewPump(telemetry.PumpConfig{
		Lanes: []telemetry.Lane{lane}, Prepare: w.hub.Prepare, Log: slog.New(slog.DiscardHandler),
		Current: func() *identity.Identity { return w.id },
	})
	var wait sync.WaitGroup
	wait.Go(func() { _ = p.Run(ctx) })
	for _, story := range stories {
		story(p)
	}
	time.Sleep(d)
	stop()
	wait.Wait()
}

func TestMissingAcknowledgementEndsTheSessionAfterTheStall(t *testing.T) {
	inWorld(t, sim.Temper{SilentAck: 7}, func(w *world) {
		q := newShelf(20)
		w.pump(telemetry.Lane{Queue: q}, 29*time.Second, func(p *telemetry.Pump) {
			time.Sleep(time.Second)
			if q.left() != 14 {
				w.Errorf("%d wait while the seventh is not acknowledged", q.left())
			}
		}, func(p *telemetry.Pump) {
			time.Sleep(5 * time.Second)
		})
		w.wantInOrder("silence", records(20))
	})
}

func TestTheEndWaitsForWhatIsInFlightAndPublishesNoMore(t *testing.T) {
	inWorld(t, sim.Temper{Latency: time.Second}, func(w *world) {
		q := newShelf(100)
		w.pump(telemetry.Lane{Queue: q}, 0, func(*telemetry.Pump) {
			for len(w.cloud.Received(device)) == 0 {
				time.Sleep(100 * time.Millisecond)
			}
		})
		if arrived := len(w.cloud.Received(device)); arrived != 16 || q.left() != 84 {
			w.Errorf("%d arrived, %d wait", arrived, q.left())
		}
	})
}

// counting is a key that counts its signatures.
type counting struct {
	crypto.Signer
	n *atomic.Int64
}

func (c counting) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.n.Add(1)
	return c.Signer.Sign(rand, digest, opts)
}

// countingStore counts the signatures of all its keys.
type countingStore struct {
	keys.Store
	n *atomic.Int64
}

func (s countingStore) Create(ctx context.Context, name string) (crypto.Signer, error) {
	k, err := s.Store.Create(ctx, name)
	return counting{k, s.n}, err
}

func (s countingStore) Open(ctx context.Context, name string) (crypto.Signer, error) {
	k, err := s.Store.Open(ctx, name)
	return counting{k, s.n}, err
}

func TestAReconnectCostsNoSignatureAndAnotherIdentityCostsOne(t *testing.T) {
	for name, temper := range map[string]sim.Temper{"TLS 1.3": {}, "TLS 1.2": {TLS12Only: true}} {
		var signed atomic.Int64
		inWorldOf(t, temper, func(p *sim.Policy) { p.Tickets = true }, countingStore{newKeys(), &signed}, func(w *world) {
			connect := func(id *identity.Identity) int64 {
				before := signed.Load()
				conn, err := w.hub.Dial(w.Context(), id)
				if err != nil {
					w.Fatalf("%s: %v", name, err)
				}
				if n, err := sendEach(conn, records(1)); n != 1 || err != nil {
					w.Errorf("%s: %v", name, err)
				}
				conn.Close()
				return signed.Load() - before
			}
			if n := connect(w.id); n != 1 {
				w.Errorf("%s: the first connection took %d signatures", name, n)
			}
			for range 3 {
				if n := connect(w.id); n != 0 {
					w.Errorf("%s: a reconnect took %d signatures", name, n)
				}
			}
			old := w.id
			key, signer := w.nextKey()
			chain, err := w.cloud.Bootstrap(device, signer.Public(), 365*24*time.Hour)
			if err != nil {
				w.Fatal(err)
			}
			w.id = w.stage(key, chain)
			if n := connect(w.id); n != 1 {
				w.Errorf("%s: the new identity took %d signatures: it must show itself", name, n)
			}
			if n := connect(w.id); n != 0 {
				w.Errorf("%s: its reconnect took %d signatures", name, n)
			}
			if n := connect(old); n != 1 {
				w.Errorf("%s: the old identity took %d signatures", name, n)
			}
			serials := map[string]bool{}
			for _, e := range w.cloud.Events() {
				if _, serial, ok := strings.Cut(e.Detail, "serial "); ok && e.Kind == sim.Connected {
					serials[serial] = true
				}
			}
			if len(serials) != 2 {
				w.Errorf("%s: the hub has seen the certificates %v", name, serials)
			}
		})
	}
}

func TestARefusedTicketIsFollowedByTheCertificate(t *testing.T) {
	var signed atomic.Int64
	inWorldOf(t, sim.Temper{}, func(p *sim.Policy) { p.Tickets = true }, countingStore{newKeys(), &signed}, func(w *world) {
		w.dial().Close()
		before := signed.Load()
		w.cloud.DisableDevice(device)
		if _, err := w.hub.Dial(w.Context(), w.id); err == nil || signed.Load() != before {
			w.Fatalf("%v after %d signatures", err, signed.Load()-before)
		}
		w.cloud.EnableDevice(device)
		w.dial().Close()
		if n := signed.Load() - before; n != 1 {
			w.Errorf("%d signatures: the ticket of a refused session was shown again", n)
		}
	})
}

func TestARenewalIsSilentForNoLongerThanARoundTripAndAHalfAndTheConnack(t *testing.T) {
	const trip = 50 * time.Millisecond
	inWorld(t, sim.Temper{Latency: trip}, func(w *world) {
		old := w.id
		key, signer := w.nextKey()
		chain, err := w.cloud.Bootstrap(device, signer.Public(), 365*24*time.Hour)
		if err != nil {
			w.Fatal(err)
		}
		w.id = w.stage(key, chain)
		next := w.id
		w.id = old
		q := newShelf(2000)
		w.pump(telemetry.Lane{Queue: q}, time.Minute, func(p *telemetry.Pump) {
			time.Sleep(time.Second)
			receipt, err := p.Switch(w.Context(), next)
			if err != nil || receipt.Again != 0 || receipt.Gap > trip*3/2+trip {
				w.Errorf("%+v, %v", receipt, err)
			}
			w.Logf("silent for %v at a round trip of %v", receipt.Gap, trip)
		})
		w.wantInOrder("lost messages", records(2000))
		if n := len(w.cloud.Received(device)); n != 2000 {
			w.Errorf("%d messages for 2000 readings", n)
		}
	})
}
