package main

import (
	"context"
	"os/exec"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

// renewal lets the simulated hub issue certificates while readings flow through a proxy that delays, and measures the longest
// silence that the hub sees.
func renewal(ctx context.Context, b *bench) error {
	b.chip.setSlow(chipTime)
	defer b.chip.setSlow(0)
	p, err := startProxy(b.cloud.HubAddr(), oneWay)
	if err != nil {
		return err
	}
	defer p.close()
	a, err := b.bringOnline(ctx, wish{hub: p.address(), roots: b.file("cloud.pem")})
	if err != nil {
		return err
	}
	defer a.kill()
	return b.renewInTraffic(ctx, a)
}

// trafficPace is how many readings a second flow, each a message: so fine is the measurement.
const trafficPace = 500

func (b *bench) renewInTraffic(ctx context.Context, a *agent) error {
	times := 5
	if b.quick {
		times = 2
	}
	const most = 1 << 20
	first := b.number(most)
	var given promises
	s := paced(first, most, trafficPace)
	fed := make(chan error, 1)
	go func() {
		fed <- intake{kind: "http", network: "unix", address: a.socket()}.feed(ctx, s, given.add)
	}()
	if err := stage.Wait(ctx, 2*time.Second); err != nil {
		return err
	}
	usual := b.counter.now().gap
	var gaps []float64
	for range times {
		gap, err := b.renewOnce(ctx, a)
		if err != nil {
			return err
		}
		b.tell("silent for %s", gap.Round(time.Millisecond))
		gaps = append(gaps, ms(gap))
	}
	s.close()
	if err := <-fed; err != nil {
		return err
	}
	promised := given.all()
	if _, err := b.counter.await(ctx, len(promised), 5*time.Second); err != nil {
		return err
	}
	lost, repeated := b.counter.missing(promised), b.counter.now().repeated
	roundTrip := ms(2 * oneWay)
	b.results.judge(verdict{Row: "renewal", What: "longest silence in a renewal, at 50 ms", Measured: number(median(gaps)) + " ms", Ratio: number(median(gaps)/roundTrip) + " round trips",
		Goal: "≤ 1.5 round trips + CONNACK", Met: median(gaps) <= 2.5*roundTrip})
	b.results.note("renewal: %d of %d readings lost and %d repeated in %d renewals; without one the longest silence was %s ms", lost, len(promised), repeated, times, number(ms(usual)))
	return nil
}

// renewOnce returns the longest silence from a moment before the renewal to a moment after it.
func (b *bench) renewOnce(ctx context.Context, a *agent) (time.Duration, error) {
	b.counter.watchGap()
	if out, err := exec.CommandContext(ctx, a.program, "renew", "--config", a.file("agent.yaml")).CombinedOutput(); err != nil {
		b.tell("renew: %s", out)
		return 0, err
	}
	if err := stage.Wait(ctx, time.Second); err != nil {
		return 0, err
	}
	return b.counter.now().gap, nil
}
