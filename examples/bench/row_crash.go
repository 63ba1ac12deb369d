package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
)

// cursorInterval is how many acknowledgements may be forgotten by a power cut: the agent writes them down that often.
const cursorInterval = 256

// perLife is how many readings are handed over before each kill, at most.
const perLife = 30_000

// roomy is how many readings may wait before the agent lives until all are sent: a third of what its spool has room for.
// What is dropped for want of room is not what is measured here.
const roomy = 1_500_000

// crash kills the agent while readings are handed to it, again and again, and audits what it has promised.
func crash(ctx context.Context, b *bench) error {
	a, err := b.newAgent(wish{spool: "1GiB"})
	if err != nil {
		return err
	}
	defer func() { a.kill() }()
	first := b.number(perLife * b.kills)
	var given promises
	worst, before := 0, 0
	died := func() (t tally) {
		t = b.counter.now()
		worst, before = max(worst, t.repeated-before), t.repeated
		return t
	}
	for i := range b.kills {
		if err := b.liveAndDie(ctx, a, newSource(first+i*perLife, perLife), &given, i%4 != 0); err != nil {
			return err
		}
		t, all := died(), given.all()
		b.tell("killed: %d promised so far, %d have come, %d again", len(all), t.unique, t.repeated)
		if len(all)-t.unique < roomy {
			continue
		}
		if err := a.start(); err != nil {
			return err
		}
		if _, err := b.arrive(ctx, all); err != nil {
			return err
		}
		a.kill()
		died()
	}
	if err := a.start(); err != nil {
		return err
	}
	return b.auditCrash(ctx, &given, worst, before)
}

// insist hands readings over, whatever comes between. A reading that was not confirmed is not handed over again, so that
// whatever comes twice was sent twice.
func (b *bench) insist(ctx context.Context, a *agent, s *source, given *promises) {
	for ctx.Err() == nil {
		if a.door.feed(ctx, s, given.add) == nil {
			return
		}
		_ = stage.Wait(ctx, 5*time.Millisecond)
	}
}

// liveAndDie kills the agent at a moment that nobody knows before: of those that the hub has accepted, where that is wanted,
// and else perhaps while it enrolls or connects.
func (b *bench) liveAndDie(ctx context.Context, a *agent, s *source, given *promises, online bool) error {
	ctx, stop := context.WithCancel(ctx)
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer stop()
	if err := a.start(); err != nil {
		return err
	}
	feeding.Go(func() { b.insist(ctx, a, s, given) })
	ready := a.intake
	if online {
		ready = a.online
	}
	if err := ready(ctx); err != nil {
		return err
	}
	if err := stage.Wait(ctx, time.Duration(rand.IntN(int(time.Second)))); err != nil {
		return err
	}
	a.kill()
	return nil
}

// arrive waits until all that was promised has come, or nothing of it comes any more. It returns how much is missing.
func (b *bench) arrive(ctx context.Context, promised []int) (left int, err error) {
	left = len(promised)
	for moved := time.Now(); left > 0 && time.Since(moved) < patience; {
		if err := stage.Wait(ctx, 100*time.Millisecond); err != nil {
			return left, err
		}
		if now := b.counter.missing(promised); now < left {
			left, moved = now, time.Now()
		}
	}
	return left, nil
}

func (b *bench) auditCrash(ctx context.Context, given *promises, worst, before int) error {
	promised := given.all()
	lost, err := b.arrive(ctx, promised)
	if err != nil {
		return err
	}
	t := b.counter.now()
	worst = max(worst, t.repeated-before)
	peer, err := b.crashTelegraf(ctx)
	if err != nil {
		b.tell("telegraf: %v", err)
		peer = "not measured"
	}
	b.results.judge(verdict{Row: "crash", What: fmt.Sprintf("lost of %s, after %d × SIGKILL", count(len(promised)), b.kills), Measured: fmt.Sprint(lost), Peer: peer, Goal: "0", Met: lost == 0 && t.wrong == 0})
	b.results.judge(verdict{Row: "crash", What: "repeated after one SIGKILL, at most", Measured: fmt.Sprint(worst), Goal: fmt.Sprintf("≤ %d + %d", b.window, cursorInterval), Met: worst <= b.window+cursorInterval})
	b.results.note("crash: %d repeated in all, %d wrong", t.repeated, t.wrong)
	return nil
}

// crashTelegraf kills telegraf as often as we have time for; what its socket has read it has accepted.
func (b *bench) crashTelegraf(ctx context.Context) (string, error) {
	dir := b.file("crash-telegraf")
	if err := os.MkdirAll(filepath.Join(dir, "buffer"), 0o700); err != nil {
		return "", err
	}
	const kills, each = 3, 500
	j := job{hub: b.broker.tls, dir: dir, first: b.number(kills * each), n: each, pace: trafficPace}
	for i := range kills {
		cmd, err := b.startTelegraf(ctx, j, "disk")
		if err != nil {
			return "", err
		}
		part := j
		part.first += i * each
		err = b.feedTelegraf(ctx, dir, part.source())
		process.Kill(cmd)
		_ = os.Remove(filepath.Join(dir, "telegraf.sock"))
		if err != nil {
			return "", err
		}
	}
	cmd, err := b.startTelegraf(ctx, j, "disk")
	if err != nil {
		return "", err
	}
	defer process.Kill(cmd)
	t, err := b.counter.await(ctx, kills*each, patience)
	return fmt.Sprintf("telegraf %d of %s, %d kills", kills*each-t.unique, count(kills*each), kills), err
}
