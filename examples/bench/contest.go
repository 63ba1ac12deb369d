package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
)

// job is what each contestant is given: the same readings, to the same broker.
type job struct {
	hub     string // host:port
	dir     string // for what it keeps
	first   int
	n       int
	pace    int // readings a second; 0 is as fast as it goes
	warm    int // readings before, which are not measured
	patient time.Duration
	begin   func() // called before the first reading; nil is nothing
	end     func() // called when all are kept, by those who send them later; nil is nothing
}

func (j job) start() { call(j.begin) }
func (j job) kept()  { call(j.end) }

func call(f func()) {
	if f != nil {
		f()
	}
}

func (j job) source() *source {
	if j.pace > 0 {
		return paced(j.first, j.n, j.pace)
	}
	return newSource(j.first, j.n)
}

// outcome is what the counter saw, and what it cost the contestant.
type outcome struct {
	tally
	cost process.Sample // from the first reading that was handed over on
	took time.Duration  // from then to the arrival of the last
}

func (o outcome) rate() float64 { return float64(o.unique) / o.took.Seconds() }

// cpu is seconds of processor per 100,000 readings.
func (o outcome) cpu() float64 { return o.cost.CPU.Seconds() * 100_000 / float64(o.unique) }

// contestant is a program that takes readings and makes them arrive.
type contestant struct {
	name  string
	store string // what is kept, in words
	run   func(ctx context.Context, b *bench, j job) (outcome, error)
}

// Who is compared.
var (
	ours       = contestant{"devid-agent", "synced before it is accepted", runAgent}
	telegraf   = contestant{"telegraf", "disk buffer", runTelegraf}
	pahoBare   = contestant{"paho.mqtt.golang", "keeps nothing", runPaho}
	bridge     = contestant{"mosquitto bridge", "saved each second", runBridge}
	publishing = contestant{"mosquitto_pub -l", "keeps nothing", runPub}
)

// compete lets one contestant do n readings.
func (b *bench) compete(ctx context.Context, c contestant, j job) (outcome, error) {
	j.first = b.number(j.n)
	if j.patient == 0 {
		j.patient = patience
	}
	if j.dir == "" {
		dir, err := os.MkdirTemp(b.dir, "contest-")
		if err != nil {
			return outcome{}, err
		}
		defer os.RemoveAll(dir)
		j.dir = dir
	}
	if j.hub == "" {
		j.hub = b.broker.tls
	}
	o, err := c.run(ctx, b, j)
	if err != nil {
		return o, fmt.Errorf("%s: %w", c.name, err)
	}
	o.took = o.last.Sub(o.began)
	b.tell("%-18s %6d readings, %8.0f/s, %6.2f s of processor per 100,000, %5.1f MB at most%s",
		c.name, o.unique, o.rate(), o.cpu(), mega(o.cost.Peak), o.troubles(j.n))
	return o, nil
}

func (o outcome) troubles(n int) (s string) {
	if lost := n - o.unique; lost > 0 {
		s += fmt.Sprintf("; %d did not come", lost)
	}
	if o.repeated > 0 {
		s += fmt.Sprintf("; %d came again", o.repeated)
	}
	if o.wrong > 0 {
		s += fmt.Sprintf("; %d were wrong", o.wrong)
	}
	return s
}

// daemon lets a process that runs already do the job.
func (b *bench) daemon(ctx context.Context, pid int, j job, feed func(*source) error) (o outcome, err error) {
	before, err := process.Look(pid)
	if err != nil {
		return o, err
	}
	j.start()
	b.counter.expect(j.first, j.n)
	fed := make(chan error, 1)
	go func() { fed <- feed(j.source()) }()
	o.tally, err = b.counter.await(ctx, j.n, j.patient)
	if err != nil {
		return o, err
	}
	if err := <-fed; err != nil {
		return o, fmt.Errorf("hand over: %w", err)
	}
	after, err := process.Look(pid)
	o.cost = after.Since(before)
	return o, err
}

func runAgent(ctx context.Context, b *bench, j job) (outcome, error) { return b.runAgent(ctx, j, "") }

// runAgent does the job with a stream as those lines say.
func (b *bench) runAgent(ctx context.Context, j job, streams string) (o outcome, err error) {
	a, err := b.bringOnline(ctx, wish{dir: j.dir, hub: j.hub, streams: streams})
	if err != nil {
		return o, err
	}
	defer a.kill()
	if err := b.warmUp(ctx, a, j); err != nil {
		return o, err
	}
	return b.daemon(ctx, a.process.Process.Pid, j, func(s *source) error {
		return a.door.feed(ctx, s, func(int, int) {})
	})
}

// warmUp brings the agent to where it is after a while: online, and with its files in place.
func (b *bench) warmUp(ctx context.Context, a *agent, j job) error {
	if err := a.online(ctx); err != nil {
		return err
	}
	if j.warm == 0 {
		return nil
	}
	return b.hand(ctx, a, j.warm)
}
