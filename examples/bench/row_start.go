package main

import (
	"context"
	"errors"
	"time"
)

// chipTime is what a signature takes longer than swtpm needs: about what a discrete TPM does.
const chipTime = 70 * time.Millisecond

// begun is how a start went.
type begun struct {
	taking  time.Duration // from the start of the process until a reading was accepted
	message time.Duration // from the moment that the network answered to the first message, without the signature
	whole   time.Duration // from the start of the process to the first message
	signed  int           // after the network answered,
	before  int           // and before
}

// startUp kills an agent that has readings waiting, and starts it.
func startUp(ctx context.Context, b *bench) error {
	b.chip.setSlow(chipTime)
	defer b.chip.setSlow(0)
	var taking, message, whole []float64
	signed, before := 0, 0
	for range b.rounds {
		s, err := b.startWith(ctx, b.scale(100_000))
		if err != nil {
			return err
		}
		taking, message, whole = append(taking, ms(s.taking)), append(message, ms(s.message)), append(whole, ms(s.whole))
		signed, before = max(signed, s.signed), max(before, s.before)
	}
	waiting := count(b.scale(100_000))
	b.results.judge(verdict{Row: "start", What: "a reading is accepted, with " + waiting + " waiting", Measured: number(median(taking)) + " ms", Goal: "≤ 250 ms", Met: median(taking) <= 250})
	b.results.judge(verdict{Row: "start", What: "first message after the network answered", Measured: number(median(message)) + " ms + signature",
		Goal: "≤ 25 ms + 1 signature", Met: median(message) <= 25 && signed <= 1})
	b.results.note("start: %s ms from the start of the process to its first message, with %d signatures of %s before it connects and %d for the connection", number(median(whole)), before, chipTime, signed)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// startWith fills a spool, kills, starts, and lets all come.
func (b *bench) startWith(ctx context.Context, n int) (s begun, err error) {
	p, err := startProxy(b.broker.tls, 0)
	if err != nil {
		return s, err
	}
	defer p.close()
	a, err := b.newAgent(wish{hub: p.address(), spool: "256MiB"})
	if err != nil {
		return s, err
	}
	defer func() { a.kill() }()
	j := job{first: b.number(n + 1), n: n}
	if _, err := b.fillAway(ctx, a, p, j); err != nil {
		return s, err
	}
	a.kill()
	p.setAway(false)
	b.counter.expect(j.first, n+1)
	if s, err = b.watchStart(ctx, a, p, j.first+n); err != nil {
		return s, err
	}
	t, err := b.counter.await(ctx, n+1, patience)
	b.tell("took a reading after %s, first message %s after the network answered, beside %d signatures; %s after the start%s", s.taking.Round(time.Millisecond),
		s.message.Round(time.Millisecond), s.signed, s.whole.Round(time.Millisecond), outcome{tally: t}.troubles(n+1))
	return s, err
}

// watchStart measures from outside: the intake, the proxy, the TPM and the counter each say when.
func (b *bench) watchStart(ctx context.Context, a *agent, p *proxy, extra int) (s begun, err error) {
	connected := len(p.connections())
	began := time.Now()
	if err := a.start(); err != nil {
		return s, err
	}
	taken := make(chan error, 1)
	go func() {
		err := a.intake(ctx)
		if err == nil {
			err = a.door.feed(ctx, newSource(extra, 1), func(int, int) {})
		}
		s.taking = time.Since(began)
		taken <- err
	}()
	if err := until(ctx, "the first message", func() bool { return !b.counter.now().opened.IsZero() }); err != nil {
		return s, err
	}
	if err := <-taken; err != nil {
		return s, err
	}
	arrived := b.counter.now().opened
	connections := p.connections()
	if len(connections) <= connected {
		return s, errors.New("a message came, and nobody connected")
	}
	answered := connections[connected]
	var took time.Duration
	s.signed, took = b.chip.signatures(answered)
	s.message, s.whole = arrived.Sub(answered)-took, arrived.Sub(began)
	all, _ := b.chip.signatures(began)
	s.before = all - s.signed
	return s, nil
}
