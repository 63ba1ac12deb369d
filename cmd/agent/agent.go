package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/renew"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/sensors"
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
	spool   *spool.Spool
	sampler *telemetry.Sampler // nil where sensors are off
	ingest  runner             // takes readings from other programs; nil where the socket is off
	board   *board
	servers map[string]certifier // that issue certificates, once they are needed

	renewals chan struct{} // a person asks for a renewal now
}

// runner is a part that lives until ctx ends.
type runner interface {
	Run(ctx context.Context) error
}

// newAgent takes the state directory for this process, opens the spool and puts the parts together. It starts nothing.
func newAgent(c *Config, w world, log *slog.Logger) (*agent, error) {
	c.settle()
	lock, err := lockState(c.Device.State)
	if err != nil {
		return nil, err
	}
	a := &agent{config: c, world: w, log: log, lock: lock, renewals: make(chan struct{}, 1), servers: map[string]certifier{}}
	if err := a.open(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *agent) open() (err error) {
	c := a.config
	if a.keys, err = openKeys(c, a.world, a.part("keys")); err != nil {
		return err
	}
	limits := spool.Limits{MaxBytes: c.Telemetry.Spool.MaxBytes, SegmentBytes: c.Telemetry.Spool.SegmentBytes}
	if a.spool, err = spool.Open(filepath.Join(c.Device.State, "spool"), limits, a.world.step); err != nil {
		return err
	}
	if c.Telemetry.Sensors.Enabled {
		a.sampler = &telemetry.Sampler{
			Spool: a.spool, Sources: sensors.Pick(c.Telemetry.Sensors.Sources...),
			Every: c.Telemetry.Sensors.Interval, Log: a.part("sampler"),
		}
	}
	if c.Telemetry.Ingest.Socket != "" {
		a.ingest = a.newIngest()
	}
	a.board = newBoard(a)
	return nil
}

// close lets go of the state directory. Nothing done here is needed for correctness.
func (a *agent) close() {
	if a.spool != nil {
		_ = a.spool.Close()
	}
	if helper, ok := a.keys.(io.Closer); ok {
		_ = helper.Close()
	}
	_ = a.lock.Close()
}

func (a *agent) part(name string) *slog.Logger { return a.log.With("part", name) }

// run is the agent's life: readings are taken in from the first second, whatever the hardware and the cloud do.
func (a *agent) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if a.sampler != nil {
		group.Go(func() error { return a.sampler.Run(ctx) })
	}
	if a.ingest != nil {
		group.Go(func() error { return a.keepIngest(ctx) })
	}
	group.Go(func() error { return a.device(ctx) })
	group.Go(func() error { return a.board.run(ctx) })
	return group.Wait()
}

// keepIngest opens the socket again when it could not be had: its directory may come later.
func (a *agent) keepIngest(ctx context.Context) error {
	backoff := fault.Backoff{Slow: time.Minute}
	for {
		err := a.ingest.Run(ctx)
		wait, again := backoff.Next(err)
		if ctx.Err() != nil || !again {
			return err
		}
		a.board.trouble("ingest", err)
		a.part("ingest").Error("no readings from other programs", "err", err, "hint", fault.Hint(err), "wait", wait.Round(time.Second))
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// device opens the identity as soon as the hardware lets it, then pumps and renews.
func (a *agent) device(ctx context.Context) error {
	d, err := a.openDevice(ctx)
	if err != nil {
		return err
	}
	return a.live(ctx, d)
}

// live runs the device until ctx ends or a part of it cannot go on.
func (a *agent) live(ctx context.Context, d *device) error {
	a.board.show(d)
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
