package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// figures are the result.
type figures struct {
	first         time.Duration  // from the start of the process to its first message at the cloud
	before, after process.Sample // of the time at rest
	busy          process.Sample // after the thousand
	busyFor       time.Duration
	backlog       int            // readings that waited when the hub came back
	drained       process.Sample // after them
	drainedFor    time.Duration
}

const (
	thousand = 1000
	settling = 20 * time.Second
)

// measure tells what it does, since most of it is waiting.
func (r *rig) measure(ctx context.Context) (*figures, error) {
	f := &figures{}
	if err := r.enroll(ctx); err != nil {
		return nil, err
	}
	if err := r.first(ctx, f); err != nil {
		return nil, err
	}
	if err := r.rest(ctx, f); err != nil {
		return nil, err
	}
	if err := r.burst(ctx, f); err != nil {
		return nil, err
	}
	return f, r.catchUp(ctx, f)
}

func (r *rig) enroll(ctx context.Context) error {
	if err := r.start(); err != nil {
		return err
	}
	if err := r.until(ctx, "the device to enroll", func() bool { return len(r.cloud.Received(device)) > 0 }); err != nil {
		return err
	}
	return r.halt()
}

// first starts the agent again: what it needs for its first message when it knows who it is.
func (r *rig) first(ctx context.Context, f *figures) error {
	before, began := len(r.cloud.Received(device)), time.Now()
	if err := r.start(); err != nil {
		return err
	}
	if err := r.received(ctx, before+1); err != nil {
		return err
	}
	f.first = r.cloud.Received(device)[before].Time.Sub(began)
	return nil
}

// rest leaves the agent alone.
func (r *rig) rest(ctx context.Context, f *figures) (err error) {
	fmt.Printf("the agent is left alone for %s, and watched for %s\n", settling, r.idle)
	if err := stage.Wait(ctx, settling); err != nil {
		return err
	}
	if f.before, err = process.Look(r.process.Process.Pid); err != nil {
		return err
	}
	if err := stage.Wait(ctx, r.idle); err != nil {
		return err
	}
	f.after, err = process.Look(r.process.Process.Pid)
	return err
}

// burst sends a thousand readings through the agent, 16 at a time.
func (r *rig) burst(ctx context.Context, f *figures) (err error) {
	before, began := len(r.cloud.Received(device)), time.Now()
	if err := r.give(ctx, thousand); err != nil {
		return err
	}
	if err := r.received(ctx, before+thousand); err != nil {
		return err
	}
	f.busyFor = time.Since(began)
	f.busy, err = process.Look(r.process.Process.Pid)
	return err
}

// catchUp lets readings wait for a hub that is not there, and come all at once.
func (r *rig) catchUp(ctx context.Context, f *figures) (err error) {
	f.backlog = 20 * thousand
	r.cloud.SetTemper(sim.Temper{Offline: true})
	before := len(r.cloud.Received(device))
	if err := r.give(ctx, f.backlog); err != nil {
		return err
	}
	r.cloud.SetTemper(sim.Temper{})
	if err := r.until(ctx, "the agent to come back", func() bool { return r.cloud.Online(device) }); err != nil {
		return err
	}
	began := time.Now()
	if err := r.received(ctx, before+f.backlog); err != nil {
		return err
	}
	f.drainedFor = time.Since(began)
	f.drained, err = process.Look(r.process.Process.Pid)
	return err
}

func (r *rig) received(ctx context.Context, n int) error {
	return r.until(ctx, "readings at the cloud", func() bool { return len(r.cloud.Received(device)) >= n })
}

// give hands n readings to the agent, and returns when all are promised.
func (r *rig) give(ctx context.Context, n int) error {
	program := stage.NewProgram(filepath.Join(r.run, "ingest.sock"), 16)
	defer program.Close()
	work := make(chan int)
	errs := make([]error, 16)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for n := range work {
				if errs[i] == nil {
					_, errs[i] = program.Give(ctx, fmt.Appendf(nil,
						`{"machine":"press p7","cycle":%d,"force":118.25,"temperature":61.4,"state":"running","note":"%0100d"}`, n, n))
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	all.Wait()
	return errors.Join(errs...)
}
