package main

import (
	"context"
	"errors"
	"math"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

// flashPace is how many readings a second there are, where the pace matters.
const flashPace = 100

// warming is how many readings the agent has had before: its segments exist then, and are used again.
const warming = 20_000

// writer is a way to keep readings whose price is measured.
type writer struct {
	name  string
	under string
	n     int
	judge bool
	run   func(ctx context.Context, b *bench, j job) (outcome, error)
	pace  int
}

// flash counts what reaches a device of its own.
func flash(ctx context.Context, b *bench) error {
	writers := []writer{
		{"devid-agent, within 1 s", "hub there, 100/s", 3000, true, b.agentOf(withinASecond), flashPace},
		{"… and the hub away", "100/s", 3000, true, runOffline, flashPace},
		{"… each synced alone", "hub there, 100/s", 2000, false, runAgent, flashPace},
		{"… each synced, full pace", "many share a write", 50_000, false, runAgent, 0},
		{"telegraf", "disk buffer, 100/s", 2000, false, runTelegraf, flashPace},
		{"mosquitto bridge", "saved each second, 100/s", 2000, false, runBridge, flashPace},
	}
	drawn := plot{file: "flash", title: "Bytes to the device for a message of 200 bytes", unit: " B", note: "by the counters of a loop device with ext4, journal included; less is better"}
	found := b.medianBytes(ctx, writers)
	for i, w := range writers {
		drawn.add(w.name, w.under, found[i])
	}
	for i, w := range writers[:4] {
		v := verdict{Row: "flash", What: w.name + " (" + w.under + ")", Measured: number(found[i]) + " B", Peer: "telegraf " + number(found[4]) + " B", Ratio: ratio(found[i], found[4])}
		if w.judge {
			v.Goal, v.Met = "≤ 300 B", found[i] <= 300
		}
		if math.IsNaN(found[i]) {
			v.Measured, v.Ratio, v.Met = "not measured", "", false
		}
		b.results.judge(v)
	}
	b.results.plots = append(b.results.plots, drawn)
	return nil
}

// medianBytes is for one message of each writer, over the rounds; NaN is for one that could not be measured.
func (b *bench) medianBytes(ctx context.Context, writers []writer) []float64 {
	values := make([][]float64, len(writers))
	for range b.rounds {
		for i, w := range writers {
			value, err := b.bytesFor(ctx, w)
			if err != nil {
				b.tell("%s: %v", w.name, err)
				value = math.NaN()
			}
			values[i] = append(values[i], value)
		}
	}
	found := make([]float64, len(writers))
	for i, v := range values {
		found[i] = median(v)
	}
	return found
}

func (b *bench) bytesFor(ctx context.Context, w writer) (float64, error) {
	d, err := newDisk(ctx, b.dir, "flash", 512)
	if err != nil {
		b.tell("no loop device here (%v): write_bytes of the process is shown, which does not know of the journal", err)
		return b.bytesByProcess(ctx, w)
	}
	defer d.close()
	var at [3]int64 // at the begin, when all are kept, and when all have come
	var errs [3]error
	read := func(i int) func() { return func() { at[i], errs[i] = d.written() } }
	j := job{n: b.scale(w.n), pace: w.pace, dir: d.dir, warm: b.scale(warming), begin: read(0), end: read(1)}
	o, err := b.compete(ctx, contestant{w.name, w.under, w.run}, j)
	read(2)()
	if err := errors.Join(err, errs[0], errs[1], errs[2]); err != nil {
		return 0, err
	}
	if at[1] == 0 {
		at[1] = at[2]
	}
	value := float64(at[1]-at[0]) / float64(o.unique)
	b.tell("%-26s %s B to the device for a message, %s by /proc/PID/io; %s to send it later", w.name, number(value),
		number(float64(o.cost.Written)/float64(o.unique)), number(float64(at[2]-at[1])/float64(o.unique)))
	return value, nil
}

func (b *bench) bytesByProcess(ctx context.Context, w writer) (float64, error) {
	o, err := b.compete(ctx, contestant{w.name, w.under, w.run}, job{n: b.scale(w.n), pace: w.pace, warm: b.scale(warming)})
	if err != nil {
		return 0, err
	}
	return float64(o.cost.Written) / float64(o.unique), nil
}

// agentOf runs the agent with a stream of that kind.
func (b *bench) agentOf(streams string) func(ctx context.Context, b *bench, j job) (outcome, error) {
	return func(ctx context.Context, b *bench, j job) (outcome, error) {
		return b.runAgent(ctx, j, streams)
	}
}

// runOffline takes the hub away before the first reading. What was written is measured before it comes back, and that all was
// kept is seen after.
func runOffline(ctx context.Context, b *bench, j job) (o outcome, err error) {
	p, err := startProxy(j.hub, 0)
	if err != nil {
		return o, err
	}
	defer p.close()
	a, err := b.newAgent(wish{dir: j.dir, hub: p.address(), streams: withinASecond})
	if err != nil {
		return o, err
	}
	defer func() { a.kill() }()
	if o, err = b.fillAway(ctx, a, p, j); err != nil {
		return o, err
	}
	a.kill()
	p.setAway(false)
	if err := a.start(); err != nil {
		return o, err
	}
	o.tally, err = b.counter.await(ctx, j.n, j.patient)
	return o, err
}

// fillAway hands readings over while the hub is away, and leaves them on the medium.
func (b *bench) fillAway(ctx context.Context, a *agent, p *proxy, j job) (o outcome, err error) {
	if err := a.start(); err != nil {
		return o, err
	}
	if err := b.warmUp(ctx, a, j); err != nil {
		return o, err
	}
	p.setAway(true)
	before, err := a.sample()
	if err != nil {
		return o, err
	}
	b.counter.expect(j.first, j.n)
	j.start()
	if err := a.door.feed(ctx, j.source(), func(int, int) {}); err != nil {
		return o, err
	}
	if err := stage.Wait(ctx, 1500*time.Millisecond); err != nil { // longer than a reading may be in memory
		return o, err
	}
	j.kept()
	after, err := a.sample()
	o.cost = after.Since(before)
	return o, err
}

// spoolBytes is what the agent's spool takes on disk.
func (a *agent) spoolBytes() (n int64) {
	entries, _ := os.ReadDir(a.file("state/spool"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}
