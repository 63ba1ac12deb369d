package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/dial"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/renew"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
	"golang.org/x/sync/errgroup"
)

// agent is the whole house. What takes readings in stands from the start; what needs an identity, and so the TPM,
// is added by the device goroutine once the hardware answers.
type agent struct {
	config *Config
	world  world
	log    *slog.Logger
	lock   *os.File

	keys    keys.Store
	spool   *spool.Spool // of the streams that have no section of their own
	streams []*stream    // with their spools; that one is the first
	intake  *telemetry.Lanes
	sampler *telemetry.Sampler   // nil where sensors are off
	intakes map[string]runner    // take readings from other programs, and from files
	taken   func() *ingestStatus // counts what those programs have sent; nil where nobody can
	board   *board
	servers map[string]certifier // that issue certificates, once they are needed

	renewals chan struct{} // a person asks for a renewal now
	opened   chan struct{} // closed when there is a device
	device   *device
	cloud    *cloud // what the cloud may ask; nil where that is nothing
	level    *slog.LevelVar
}

// runner is a part that lives until ctx ends.
type runner interface {
	Run(ctx context.Context) error
}

// newAgent takes the state directory for this process, opens the spool and puts the parts together. It starts nothing.
func newAgent(c *Config, w world, log *slog.Logger) (*agent, error) {
	c.settle()
	if w.dial == nil {
		w.dial = dial.Dialer()
	}
	if w.renewals == nil {
		w.renewals = make(chan struct{}, 1)
	}
	if w.level == nil {
		w.level = new(slog.LevelVar)
	}
	lock, err := w.lock, error(nil)
	if lock == nil {
		lock, err = lockState(c.Device.State)
	}
	if err != nil {
		return nil, err
	}
	a := &agent{config: c, world: w, log: log, lock: lock, renewals: w.renewals, level: w.level, opened: make(chan struct{}), servers: map[string]certifier{}}
	if err := a.open(); err != nil {
		if a.put(); w.lock == nil {
			a.cloud.failed()
			a.leave()
		}
		return nil, err
	}
	return a, nil
}

func (a *agent) open() (err error) {
	if err := a.openCloud(); err != nil {
		return err
	}
	c := a.config
	if a.keys, err = openKeys(c, a.world, a.part("keys")); err != nil {
		return err
	}
	if err = a.openStreams(); err != nil {
		return err
	}
	if c.Telemetry.Sensors.Enabled {
		if a.sampler, err = a.newSampler(); err != nil {
			return err
		}
	}
	a.intakes = a.newIngest()
	if err := a.addTails(); err != nil {
		return err
	}
	a.board = newBoard(a)
	a.cloud.serve(a)
	return nil
}

// close ends what this process stands on. Nothing done here is needed for correctness.
func (a *agent) close() {
	a.put()
	a.leave()
}

// leave lets go of what outlives one agent: the cloud, and the state directory.
func (a *agent) leave() {
	a.cloud.end()
	_ = a.lock.Close()
}

// put closes what this agent has opened for itself. Readings that were promised less than the disk get there now.
func (a *agent) put() {
	for _, s := range a.streams {
		if err := s.spool.Close(); err != nil && s.spool.Stats().LastSeq > 0 { // one that never took anything has no directory
			a.part("spool").Error("what was in memory is not on the disk", "stream", s.name, "err", err, "hint", fault.Hint(err))
		}
	}
	a.streams = nil
	if helper, ok := a.keys.(io.Closer); ok {
		_ = helper.Close()
	}
}

func (a *agent) part(name string) *slog.Logger { return a.log.With("part", name) }

// run is the agent's life: readings are taken in from the first second, whatever the hardware and the cloud do.
func (a *agent) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if a.sampler != nil {
		group.Go(func() error { return a.sampler.Run(ctx) })
	}
	for name, r := range a.intakes {
		group.Go(func() error { return a.keep(ctx, name, r) })
	}
	group.Go(func() error { return a.runDevice(ctx) })
	group.Go(func() error { return a.board.run(ctx) })
	if a.cloud != nil {
		group.Go(func() error { return a.cloud.run(ctx, a) })
	}
	return group.Wait()
}

// settled is how long a part must run to count as one that works: what keeps it from its work does so at once.
const settled = 10 * time.Second

// keep runs r again when it could not: the directory of a socket may come later.
func (a *agent) keep(ctx context.Context, name string, r runner) error {
	backoff := fault.Backoff{Slow: time.Minute}
	for {
		start := time.Now()
		works := time.AfterFunc(settled, func() { a.board.trouble(name, nil) })
		err := r.Run(ctx)
		works.Stop()
		if time.Since(start) >= settled {
			backoff.Next(nil)
		}
		wait, again := backoff.Next(err)
		if ctx.Err() != nil || !again {
			return err
		}
		a.board.trouble(name, err)
		a.part(name).Error("no readings from there", "err", err, "hint", fault.Hint(err), "wait", wait.Round(time.Second))
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// runDevice opens the identity as soon as the hardware lets it, then pumps and renews.
func (a *agent) runDevice(ctx context.Context) error {
	d, err := a.openDevice(ctx)
	if err != nil {
		return err
	}
	return a.live(ctx, d)
}

// live runs the device until ctx ends or a part of it cannot go on.
func (a *agent) live(ctx context.Context, d *device) error {
	d.pump.Spread = a.spread()
	a.board.show(d)
	a.device = d
	close(a.opened)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.pump.Run(ctx) })
	group.Go(func() error { return d.renewer.Run(ctx) })
	group.Go(func() error { return a.answerAsks(ctx, d.renewer) })
	return group.Wait()
}

// openDevice tries until the key store answers: a TPM's driver may come late, and readings are spooled meanwhile.
func (a *agent) openDevice(ctx context.Context) (*device, error) {
	backoff := fault.Backoff{Max: 30 * time.Second, Slow: 5 * time.Minute}
	for {
		d, err := a.newDevice(ctx)
		if err == nil {
			a.board.trouble("identity", nil)
			return d, nil
		}
		wait, again := backoff.Next(err)
		if !again || ctx.Err() != nil {
			return nil, err
		}
		a.board.trouble("identity", err)
		a.part("identity").Error("no identity yet", "err", err, "kind", fault.Of(err), "hint", fault.Hint(err), "wait", wait.Round(time.Millisecond))
		if !sleep(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// answerAsks renews when a person asks for it by signal.
func (a *agent) answerAsks(ctx context.Context, r *renew.Renewer) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.renewals:
			a.part("renew").Info("renewal asked for")
			if err := r.Force(ctx); fault.Of(err) == fault.Fatal {
				return err
			}
		}
	}
}

// device is the part of the house that has an identity.
type device struct {
	identities *identity.Store
	pump       *telemetry.Pump
	renewer    *renew.Renewer
}

// prove is what the renewer knows of the pump.
func (d *device) prove(ctx context.Context, id *identity.Identity) error {
	if _, err := d.pump.Switch(ctx, id); err != nil {
		return fmt.Errorf("switch telemetry: %w", err)
	}
	return nil
}

// sleep reports whether d went by before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
