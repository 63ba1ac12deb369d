package main

import (
	"context"
	"fmt"
)

// rates are the outcomes of several rounds, by contestant.
type rates map[string][]outcome

func (r rates) median(name string, of func(outcome) float64) float64 {
	var values []float64
	for _, o := range r[name] {
		values = append(values, of(o))
	}
	return median(values)
}

// entry is a contestant and how many readings it gets: enough for seconds of work.
type entry struct {
	contestant
	n int
}

// interleave lets all compete in turn, round by round.
func (b *bench) interleave(ctx context.Context, hub string, entries []entry) (rates, error) {
	r := rates{}
	for round := range b.rounds {
		b.tell("round %d of %d", round+1, b.rounds)
		for _, e := range entries {
			o, err := b.compete(ctx, e.contestant, job{hub: hub, n: b.scale(e.n)})
			if err != nil {
				return nil, err
			}
			r[e.name] = append(r[e.name], o)
		}
	}
	return r, nil
}

func throughput(ctx context.Context, b *bench) error {
	entries := []entry{{ours, 100_000}, {telegraf, 20_000}, {pahoBare, 100_000}, {bridge, 50_000}, {publishing, 50_000}}
	r, err := b.interleave(ctx, "", entries)
	if err != nil {
		return err
	}
	b.judgeRate(r)
	b.judgeCPU(r)
	rate, cpu := plot{file: "throughput", title: "Messages a second", unit: "/s", note: "QoS 1, 200 bytes, TLS, round trip near zero; more is better"},
		plot{file: "cpu", title: "Processor for 100,000 messages", unit: " s", note: "all threads, with the intake of the readings; less is better"}
	for _, e := range entries {
		rate.add(e.name, e.store, r.median(e.name, outcome.rate))
		cpu.add(e.name, e.store, r.median(e.name, outcome.cpu))
		b.results.note("%s: peak memory %.1f MB%s", e.name, r.median(e.name, func(o outcome) float64 { return mega(o.cost.Peak) }), r[e.name][0].troubles(b.scale(e.n)))
	}
	b.results.plots = append(b.results.plots, rate, cpu)
	return nil
}

func (b *bench) judgeRate(r rates) {
	mine := r.median(ours.name, outcome.rate)
	for _, goal := range []struct {
		contestant
		least float64
	}{{telegraf, 10}, {pahoBare, 1}} {
		peer := r.median(goal.name, outcome.rate)
		b.results.judge(verdict{Row: "throughput", What: "durable messages a second", Measured: number(mine) + "/s", Peer: goal.name + " " + number(peer) + "/s",
			Ratio: ratio(mine, peer), Goal: fmt.Sprintf("≥ %g ×", goal.least), Met: mine >= goal.least*peer})
	}
	for _, c := range []contestant{bridge, publishing} {
		peer := r.median(c.name, outcome.rate)
		b.results.judge(verdict{Row: "throughput", What: "durable messages a second", Measured: number(mine) + "/s", Peer: c.name + " " + number(peer) + "/s", Ratio: ratio(mine, peer)})
	}
}

func (b *bench) judgeCPU(r rates) {
	mine := r.median(ours.name, outcome.cpu)
	for _, goal := range []struct {
		contestant
		most float64
		text string
	}{{telegraf, 0.2, "≤ 1/5"}, {pahoBare, 1.2, "≤ 1.2 ×"}} {
		peer := r.median(goal.name, outcome.cpu)
		b.results.judge(verdict{Row: "cpu", What: "processor for 100,000 messages", Measured: number(mine) + " s", Peer: goal.name + " " + number(peer) + " s",
			Ratio: ratio(mine, peer), Goal: goal.text, Met: mine <= goal.most*peer})
	}
}

// roundtrip is where waiting costs: through a proxy that delays both ways.
func roundtrip(ctx context.Context, b *bench) error {
	p, err := startProxy(b.broker.tls, oneWay)
	if err != nil {
		return err
	}
	defer p.close()
	entries := []entry{{ours, 10_000}, {telegraf, 200}, {pahoBare, 10_000}, {bridge, 10_000}, {publishing, 1000}}
	r, err := b.interleave(ctx, p.address(), entries)
	if err != nil {
		return err
	}
	mine, bound := r.median(ours.name, outcome.rate), float64(b.window)/(2*oneWay).Seconds()
	b.results.judge(verdict{Row: "roundtrip", What: "messages a second at 50 ms", Measured: number(mine) + "/s", Peer: fmt.Sprintf("window %d ÷ 50 ms = %s/s", b.window, number(bound)),
		Ratio: ratio(mine, bound), Goal: "≥ 90 % of it", Met: mine >= 0.9*bound})
	peer := r.median(telegraf.name, outcome.rate)
	b.results.judge(verdict{Row: "roundtrip", What: "messages a second at 50 ms", Measured: number(mine) + "/s", Peer: telegraf.name + " " + number(peer) + "/s",
		Ratio: ratio(mine, peer), Goal: "≥ 100 ×", Met: mine >= 100*peer})
	drawn := plot{file: "roundtrip", title: "Messages a second at a round trip of 50 ms", unit: "/s", note: "QoS 1, 200 bytes, TLS; the bridge has no window; more is better"}
	for _, e := range entries {
		drawn.add(e.name, e.store, r.median(e.name, outcome.rate))
	}
	b.results.plots = append(b.results.plots, drawn)
	return nil
}
