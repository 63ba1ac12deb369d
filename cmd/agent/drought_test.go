package main

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// drought is an authority that is gone, and when it was asked in vain.
type drought struct {
	mu    sync.Mutex
	on    bool
	code  int
	tries []time.Time
}

func (d *drought) set(on bool) { d.mu.Lock(); defer d.mu.Unlock(); d.on = on }

func (d *drought) fault(p sim.Point, _ string, _ int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.on || p != sim.AtIssue {
		return nil
	}
	d.tries = append(d.tries, time.Now())
	return &sim.Refusal{Code: d.code, Message: "no authority"}
}

// between is how often it was asked then.
func (d *drought) between(from, to time.Time) (n int) {
	for _, at := range d.tries {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// TestFault12AnAuthorityThatIsGoneForDaysIsAskedAtRandomMomentsAndMoreOftenTowardsTheEnd has certificates of ten days: the
// authority is gone from the beginning until half an hour before the end, and there is no way back through DPS: the bootstrap
// certificate lasts for a day.
func TestFault12AnAuthorityThatIsGoneForDaysIsAskedAtRandomMomentsAndMoreOftenTowardsTheEnd(t *testing.T) {
	const day = 24 * time.Hour
	for name, s := range map[string]struct {
		code   int
		aDay   int  // tries that an ordinary day may have
		denser bool // than that at the end
	}{
		"out of reach":         {code: 504000, aDay: 1250},
		"service unavailable":  {code: 503001, aDay: 1000},
		"server error":         {code: 500001, aDay: 350},
		"throttled":            {code: 429001, aDay: 1250},
		"it says no to us all": {code: 400040, aDay: 30, denser: true},
	} {
		d := &drought{code: s.code, on: false}
		inBubble(t, sim.Temper{Latency: 20 * time.Millisecond, Fault: d.fault}, func(g *gateway) {
			g.cloud.SetPolicy(func(p *sim.Policy) { p.Life = 10 * day })
			b := g.start(&power{}, nil)
			b.takeFor(2 * time.Minute)
			d.set(true)
			ended := g.cloud.Count(gatewayID, sim.Disconnected)
			end := g.cloud.Issued(gatewayID)[0].NotAfter
			for time.Now().Before(end.Add(-30 * time.Minute)) {
				b.take()
				time.Sleep(10 * time.Minute)
			}
			if n := g.cloud.Count(gatewayID, sim.Disconnected) - ended; n != 0 || len(g.cloud.Received(gatewayID)) != len(g.promised) {
				t.Errorf("%s: telemetry suffered: %d sessions ended, %d of %d readings arrived", name, n, len(g.cloud.Received(gatewayID)), len(g.promised))
			}
			d.judge(t, name, end, s.aDay, s.denser)
			d.set(false)
			b.takeFor(25 * time.Minute)
			if g.generation() != 2 {
				t.Errorf("%s: generation %d is in force five minutes before the end", name, g.generation())
			}
			for _, wrong := range g.audit() {
				t.Errorf("%s: %s", name, wrong)
			}
			g.end(b)
		})
	}
}

func (d *drought) judge(t *testing.T, name string, end time.Time, aDay int, denser bool) {
	t.Helper()
	const day = 24 * time.Hour
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.tries) < 20 {
		t.Fatalf("%s: only %d tries", name, len(d.tries))
	}
	seconds := map[time.Duration]int{}
	var longest time.Duration
	for i := range d.tries[1:] {
		gap := d.tries[i+1].Sub(d.tries[i])
		longest = max(longest, gap)
		seconds[gap.Round(time.Second)]++
	}
	first, last := d.between(d.tries[0], d.tries[0].Add(day)), d.between(end.Add(-90*time.Minute), end)
	if longest > 67*time.Minute {
		t.Errorf("%s: it was left alone for %v", name, longest)
	}
	if first > aDay {
		t.Errorf("%s: it was asked %d times on the first day", name, first)
	}
	if last < 6 || denser && last < 3*first/24 {
		t.Errorf("%s: it was asked %d times in the hour before the last half, %d times on the first day", name, last, first)
	}
	if often := slices.Max(values(seconds)); often > len(d.tries)*6/10 {
		t.Errorf("%s: %d of %d waits were the same to a second: a fleet would ask in step", name, often, len(d.tries)-1)
	}
}

func values(m map[time.Duration]int) (all []int) {
	for _, n := range m {
		all = append(all, n)
	}
	return all
}
