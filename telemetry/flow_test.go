package telemetry_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/telemetry"
)

func TestTheWindowStaysFullAsLongAsSomethingWaits(t *testing.T) {
	h, q := newHub(1), newQueue()
	q.add(1600)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, _ *telemetry.Pump) {
		pass(trip + 1600/16*trip*10/9) // the dial takes one
		if q.depth() != 0 {
			t.Errorf("%d of 1600 wait: less than 90 %% of window/RTT", q.depth())
		}
		h.wantInOrder(t, "a", 1600, 0)
	})
}

func TestWhatIsAcknowledgedOutOfTurnIsNotSentAgain(t *testing.T) {
	h, q := newHub(1), newQueue()
	h.mute = map[int]bool{3: true} // the third message
	q.add(10)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, p *telemetry.Pump) {
		pass(5 * time.Second)
		if q.depth() != 8 {
			t.Errorf("%d wait while number 3 is not acknowledged", q.depth())
		}
		pass(time.Minute)
		if q.depth() != 0 || strings.Join(h.received[10:], " ") != "1:a3" {
			t.Errorf("%d wait, sent again: %v", q.depth(), h.received[10:])
		}
		if p.Report().Window != 8 {
			t.Errorf("window %d after a stall", p.Report().Window)
		}
	})
}

func TestFault37AHubThatNeverAcknowledgesIsLeftAndNothingIsLost(t *testing.T) {
	h, q := newHub(1), newQueue()
	h.deaf = true
	q.add(100)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, p *telemetry.Pump) {
		pass(35 * time.Second)
		if h.dialled() != 2 || !strings.Contains(p.Report().LastError.Error(), "not acknowledged") {
			t.Errorf("%d dials, %v", h.dialled(), p.Report().LastError)
		}
		h.set(func() { h.deaf = false })
		pass(5 * time.Minute)
		if q.depth() != 0 || len(q.aside) != 0 {
			t.Errorf("%d wait, set aside: %v", q.depth(), q.aside)
		}
	})
}

func TestFault44ALinkWithFiveSecondsMakesProgressWithoutRepeats(t *testing.T) {
	h, q := newHub(1), newQueue()
	h.delay = 5 * time.Second
	q.add(200)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, _ *telemetry.Pump) {
		pass(80 * time.Second)
		h.wantInOrder(t, "a", 200, 0)
		if h.dialled() != 1 {
			t.Errorf("%d dials", h.dialled())
		}
	})
}

func TestFault45AThrottlingHubGetsASmallerWindowAndALargerOneAgain(t *testing.T) {
	h, q := newHub(1), newQueue()
	q.add(100_000)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, p *telemetry.Pump) {
		pass(10 * time.Second)
		h.set(func() { h.delay = 3 * time.Second })
		pass(time.Minute)
		sent := h.sent()
		pass(time.Minute)
		if got := h.sent() - sent; got > 40 || got < 15 {
			t.Errorf("%d messages a minute to a hub that takes three seconds for each", got)
		}
		h.set(func() { h.delay = 0 })
		pass(time.Minute)
		sent = h.sent()
		pass(10 * time.Second)
		if got := h.sent() - sent; got < 16*200*9/10 {
			t.Errorf("%d messages in 10 s: the window does not grow again", got)
		}
		if h.dialled() != 1 {
			t.Errorf("%d dials", h.dialled())
		}
	})
}

func TestRateHoldsABacklogBackAndOneReadingNot(t *testing.T) {
	h, q := newHub(1), newQueue()
	pumpingWith(t, h, telemetry.PumpConfig{Rate: 20, Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, _ *telemetry.Pump) {
		q.add(10_000)
		pass(101 * time.Second)
		if h.sent() < 20*99 || h.sent() > 20*102 {
			t.Errorf("%d messages in 101 s at 20 a second", h.sent())
		}
	})
}

func TestSwitchLosesNoMoreTimeThanTheLastAcknowledgementAndTheConnack(t *testing.T) {
	h, q := newHub(1, 2), newQueue()
	q.add(5000)
	c := telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}, Prepare: h.prepare}
	pumpingWith(t, h, c, func(t *testing.T, p *telemetry.Pump) {
		pass(time.Second)
		before := h.sent()
		receipt, err := p.Switch(t.Context(), generation(2))
		if err != nil || receipt.Gap > trip+trip || receipt.Again != 0 {
			t.Errorf("%+v, %v", receipt, err)
		}
		if sent := h.sent() - before; sent < 100 {
			t.Errorf("%d messages while the connection was made: the old session must go on", sent)
		}
		pass(time.Minute)
		h.wantInOrder(t, "a", 5000, 0)
	})
}

func TestLendAndSwitchAreAnsweredWhileABacklogIsSent(t *testing.T) {
	h, q := newHub(1, 2), newQueue()
	h.delay = 10 * time.Second
	q.add(100_000)
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, p *telemetry.Pump) {
		pass(time.Second)
		start := time.Now()
		if _, err := p.Lend(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("Lend took %v: %v", time.Since(start), err)
		}
		if _, err := p.Switch(t.Context(), generation(2)); err != nil || time.Since(start) > 11*time.Second {
			t.Errorf("Switch took %v: %v", time.Since(start), err)
		}
	})
}

func TestFault48TheEndWaitsALittleForWhatIsInFlight(t *testing.T) {
	for delay, want := range map[time.Duration]int{time.Second: 84, time.Hour: 100} {
		h, q := newHub(1), newQueue()
		h.delay = delay
		q.add(100)
		pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(*testing.T, *telemetry.Pump) {
			pass(500 * time.Millisecond)
			t.Cleanup(func() {
				if q.depth() != want {
					t.Errorf("acknowledgements after %v: %d wait, want %d", delay, q.depth(), want)
				}
			})
		})
	}
}

func TestHigherLanesGoFirstAndLowerOnesGetAShare(t *testing.T) {
	h := newHub(1)
	alarms, bulk, machine := newQueue(), newQueue(), newQueue()
	lanes := []telemetry.Lane{{Name: "bulk", Queue: bulk}, {Name: "machine", Queue: machine}, {Name: "alarms", Queue: alarms, Priority: 1}}
	for _, q := range []*queue{alarms, bulk, machine} {
		q.add(8000)
	}
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: lanes}, func(t *testing.T, _ *telemetry.Pump) {
		pass(20 * time.Second)
		count := map[string]int{}
		for _, r := range h.received[:6400:6400] {
			count[strings.Trim(r, "0123456789:")]++
		}
		if count["alarms"] != 5600 || count["bulk"] != 400 || count["machine"] != 400 {
			t.Errorf("of 6400 messages: %v", count)
		}
		h.wantInOrder(t, "alarms", count["alarms"]+(h.sent()-6400)*7/8, 0)
	})
}

func TestFreshReadingsOfAnotherLaneDoNotWaitBehindABacklog(t *testing.T) {
	h, backlog, fresh := newHub(1), newQueue(), newQueue()
	backlog.add(100_000)
	lanes := []telemetry.Lane{{Name: "old", Queue: backlog}, {Name: "new", Queue: fresh}}
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: lanes}, func(t *testing.T, _ *telemetry.Pump) {
		pass(10 * time.Second)
		fresh.add(1)
		pass(1200 * time.Millisecond)
		if fresh.depth() != 0 || backlog.depth() == 0 {
			t.Errorf("%d fresh, %d old wait", fresh.depth(), backlog.depth())
		}
	})
}

func TestAPackGoesWhenItIsFullOrOldEnough(t *testing.T) {
	h, q := newHub(1), newQueue()
	h.rings = true
	lane := telemetry.Lane{Name: "a", Queue: q, Pack: telemetry.Pack{Bytes: 1000, Age: time.Minute}}
	add := func(n int) { q.add(n); h.news <- struct{}{} }
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{lane}}, func(t *testing.T, _ *telemetry.Pump) {
		pass(time.Second)
		add(3)
		pass(59 * time.Second)
		if h.sent() != 0 {
			t.Error("a reading did not wait for others")
		}
		pass(2 * time.Second)
		if h.sent() != 3 || q.depth() != 0 {
			t.Errorf("after a minute %d arrived, %d wait", h.sent(), q.depth())
		}
		add(45) // about 50 bytes each: 20 fill a message
		pass(time.Second)
		if n := 48 - q.depth() - 3; n < 20 || n == 45 {
			t.Errorf("%d of 45 went at once", n)
		}
		pass(time.Minute)
		h.wantInOrder(t, "a", 48, 0)
	})
}

func TestFault53TheFirstConnectionComesAtARandomMoment(t *testing.T) {
	early, late := time.Hour, time.Duration(0)
	for range 40 {
		h := newHub(1)
		pumpingWith(t, h, telemetry.PumpConfig{Spread: time.Minute, Lanes: []telemetry.Lane{laneOf("a", newQueue())}}, func(t *testing.T, p *telemetry.Pump) {
			start := time.Now()
			for p.Report().State != "online" {
				pass(time.Second)
			}
			early, late = min(early, time.Since(start)), max(late, time.Since(start))
		})
	}
	if early > 20*time.Second || late < 40*time.Second || late > 62*time.Second {
		t.Errorf("40 first connections between %v and %v", early, late)
	}
}

func TestANewDeviceDoesNotWaitForTheSpread(t *testing.T) {
	h := newHub(1)
	c := telemetry.PumpConfig{Spread: time.Hour, Lanes: []telemetry.Lane{laneOf("a", newQueue())}, Current: func() *identity.Identity { return nil }}
	pumpingWith(t, h, c, func(t *testing.T, p *telemetry.Pump) {
		start := time.Now()
		if _, err := p.Switch(t.Context(), generation(1)); err != nil || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// prepare is dial in two steps: TLS takes a second, as with a slow TPM, and the CONNACK a round trip.
func (h *hub) prepare(ctx context.Context, id *identity.Identity) (telemetry.Prepared, error) {
	if !sleep(ctx, time.Second) {
		return nil, ctx.Err()
	}
	return &prepared{h, id}, nil
}

type prepared struct {
	hub *hub
	id  *identity.Identity
}

func (p *prepared) Connect(ctx context.Context) (telemetry.Conn, error) { return p.hub.dial(ctx, p.id) }
func (p *prepared) Close() error                                        { return nil }

func TestFault39TwoAgentsWithOneIdentityAreRecognised(t *testing.T) {
	h, q := newHub(1), newQueue()
	pumpingWith(t, h, telemetry.PumpConfig{Lanes: []telemetry.Lane{laneOf("a", q)}}, func(t *testing.T, p *telemetry.Pump) {
		for range 60 {
			pass(time.Minute)
			h.set(func() {
				if h.session != nil {
					h.session.end() // the other one has connected
				}
			})
		}
		pass(time.Millisecond)
		r := p.Report()
		if r.Kicks < 5 || !strings.Contains(fmt.Sprint(hint(r.LastError)), "second agent") {
			t.Errorf("%d kicks, hint %q", r.Kicks, hint(r.LastError))
		}
		if h.dialled() > 60 {
			t.Errorf("%d dials in an hour", h.dialled())
		}
		pass(20 * time.Minute) // the other one is gone
		h.set(func() { h.session.end() })
		pass(time.Second)
		if r := p.Report(); r.Kicks != 0 {
			t.Errorf("%d kicks after a session that lasted", r.Kicks)
		}
	})
}
