package main

import (
	"context"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
)

// Goals of memory, in bytes.
const (
	goalRest = 12e6
	goalPeak = 24e6
)

// memory watches the agent at rest, in a burst, and with a backlog that comes and goes.
func memory(ctx context.Context, b *bench) error {
	p, err := startProxy(b.broker.tls, 0)
	if err != nil {
		return err
	}
	defer p.close()
	a, err := b.bringOnline(ctx, wish{hub: p.address(), spool: "1GiB"})
	if err != nil {
		return err
	}
	defer a.kill()
	if err := b.atRest(ctx, a); err != nil {
		return err
	}
	if err := b.burst(ctx, a); err != nil {
		return err
	}
	return b.backlog(ctx, a, p)
}

func (b *bench) judgeMemory(what string, bytes int64, most float64, goal, peer string) {
	b.results.judge(verdict{Row: "memory", What: what, Measured: number(mega(bytes)) + " MB", Peer: peer, Goal: goal, Met: float64(bytes) <= most})
}

// atRest gives the agent ten readings, leaves it alone, and looks at it; then telegraf the same.
func (b *bench) atRest(ctx context.Context, a *agent) error {
	if err := b.hand(ctx, a, 10); err != nil {
		return err
	}
	calm := 20 * time.Second
	if b.quick {
		calm = 3 * time.Second
	}
	if err := stage.Wait(ctx, calm); err != nil {
		return err
	}
	s, err := a.sample()
	if err != nil {
		return err
	}
	peer, err := b.telegrafAtRest(ctx, calm)
	b.judgeMemory("at rest", s.Steady, goalRest, "≤ 12 MB", "telegraf "+number(mega(peer))+" MB")
	return err
}

func (b *bench) telegrafAtRest(ctx context.Context, calm time.Duration) (int64, error) {
	j := job{hub: b.broker.tls, dir: b.dir, first: b.number(10), n: 10}
	cmd, err := b.startTelegraf(ctx, j, "disk")
	if err != nil {
		return 0, err
	}
	defer process.Kill(cmd)
	if err := b.feedTelegraf(ctx, j.dir, j.source()); err != nil {
		return 0, err
	}
	if err := stage.Wait(ctx, calm); err != nil {
		return 0, err
	}
	s, err := process.Look(cmd.Process.Pid)
	return s.Steady, err
}

// hand hands n readings to an agent that is online, and waits until they have come.
func (b *bench) hand(ctx context.Context, a *agent, n int) error {
	first := b.number(n)
	if err := a.door.feed(ctx, newSource(first, n), func(int, int) {}); err != nil {
		return err
	}
	_, err := b.counter.await(ctx, n, patience)
	return err
}

func (b *bench) burst(ctx context.Context, a *agent) error {
	if err := b.hand(ctx, a, b.scale(100_000)); err != nil {
		return err
	}
	s, err := a.sample()
	b.judgeMemory("at most, with a burst of "+count(b.scale(100_000)), s.Peak, goalPeak, "≤ 24 MB", "")
	return err
}

// backlog lets readings wait for a hub that is not there; then the agent is killed, starts, and sends them all.
func (b *bench) backlog(ctx context.Context, a *agent, p *proxy) error {
	watch := watchMemory()
	defer watch.end()
	n := b.scale(1_000_000)
	first := b.number(n)
	p.setAway(true)
	watch.follow(a)
	began := time.Now()
	if err := a.door.feed(ctx, newSource(first, n), func(int, int) {}); err != nil {
		return err
	}
	accepted := float64(n) / time.Since(began).Seconds()
	filled, err := a.sample()
	if err != nil {
		return err
	}
	a.kill()
	p.setAway(false)
	if err := a.start(); err != nil {
		return err
	}
	watch.follow(a)
	t, err := b.counter.await(ctx, n, patience)
	if err != nil {
		return err
	}
	drained, err := a.sample()
	if err != nil {
		return err
	}
	sent := float64(t.unique-1) / t.last.Sub(t.opened).Seconds()
	b.tell("%d accepted at %s/s and sent at %s/s%s", n, number(accepted), number(sent), outcome{tally: t}.troubles(n))
	b.results.judge(verdict{Row: "memory", What: "accepted a second, with the hub away", Measured: number(accepted) + "/s"})
	b.results.judge(verdict{Row: "memory", What: "sent a second, of what waited", Measured: number(sent) + "/s"})
	b.judgeMemory("at most, with "+count(n)+" that wait", max(filled.Peak, drained.Peak), goalPeak, "≤ 24 MB", "")
	b.results.note("memory: %.1f MB at most while %s readings were taken in, %.1f MB while they were sent; %d lost", mega(filled.Peak), count(n), mega(drained.Peak), n-t.unique)
	b.results.plots = append(b.results.plots, plot{file: "memory", title: "Memory while " + count(n) + " readings wait", unit: " MB",
		note: "resident; they are taken in while the hub is away, then the process is killed, starts, and sends them", lines: watch.end()})
	return nil
}

// watcher samples the memory of an agent.
type watcher struct {
	mu    sync.Mutex
	agent *agent
	began time.Time
	lines []line
	stop  chan struct{}
	once  sync.Once
	done  sync.WaitGroup
}

func watchMemory() *watcher {
	w := &watcher{began: time.Now(), stop: make(chan struct{}), lines: []line{{name: "taken in"}, {name: "sent"}}}
	w.done.Go(w.run)
	return w
}

// follow is called for each life of the agent.
func (w *watcher) follow(a *agent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agent = &agent{dir: a.dir, run: a.run, process: a.process}
}

func (w *watcher) run() {
	var pids []int
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(250 * time.Millisecond):
		}
		w.mu.Lock()
		a := w.agent
		w.mu.Unlock()
		if a == nil {
			continue
		}
		if len(pids) == 0 || pids[len(pids)-1] != a.process.Process.Pid {
			pids = append(pids, a.process.Process.Pid)
		}
		if s, err := a.sample(); err == nil && s.Steady > 0 && len(pids) <= len(w.lines) {
			l := &w.lines[len(pids)-1]
			l.points = append(l.points, point{time.Since(w.began), mega(s.Steady)})
		}
	}
}

// end returns a line for each life.
func (w *watcher) end() []line {
	w.once.Do(func() { close(w.stop) })
	w.done.Wait()
	return w.lines
}
