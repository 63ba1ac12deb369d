package main

import (
	"context"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

// settled is how long a session lives before the agent takes its loss for the first, and comes back within a second.
const settled = 11 * time.Second

// reconnect cuts the connection, and counts what the TPM is asked to sign until messages come again.
func reconnect(ctx context.Context, b *bench) error {
	b.chip.setSlow(chipTime)
	defer b.chip.setSlow(0)
	p, err := startProxy(b.broker.tls, 0)
	if err != nil {
		return err
	}
	defer p.close()
	a, err := b.bringOnline(ctx, wish{hub: p.address()})
	if err != nil {
		return err
	}
	defer a.kill()
	cuts, signed := 5, 0
	if b.quick {
		cuts = 1
	}
	var back []float64
	for range cuts {
		n, took, err := b.cutOnce(ctx, a, p)
		if err != nil {
			return err
		}
		b.tell("%d signatures, and a message %s after the network answered", n, took.Round(time.Millisecond))
		signed += n
		back = append(back, ms(took))
	}
	b.results.judge(verdict{Row: "reconnect", What: "signatures for " + count(cuts) + " connections that came back", Measured: count(signed), Goal: "0", Met: signed == 0})
	b.results.note("reconnect: a message comes %s ms after the network answers, with a TPM that takes %s for a signature", number(median(back)), chipTime)
	return nil
}

// cutOnce leaves a reading behind for the session that comes.
func (b *bench) cutOnce(ctx context.Context, a *agent, p *proxy) (signed int, took time.Duration, err error) {
	if err := b.hand(ctx, a, 1); err != nil {
		return 0, 0, err
	}
	if err := stage.Wait(ctx, settled); err != nil {
		return 0, 0, err
	}
	cut := time.Now()
	connected := len(p.connections())
	first := b.number(1)
	p.cut()
	if err := a.door.feed(ctx, newSource(first, 1), func(int, int) {}); err != nil {
		return 0, 0, err
	}
	t, err := b.counter.await(ctx, 1, time.Minute)
	if err != nil {
		return 0, 0, err
	}
	signed, _ = b.chip.signatures(cut)
	connections := p.connections()
	return signed, t.last.Sub(connections[min(connected, len(connections)-1)]), nil
}
