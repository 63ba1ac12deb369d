package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
)

// wish is a configuration to go on with; done is told nil once an agent with it stands, else why the old one goes on.
type wish struct {
	config *Config
	done   chan error
}

// reconfigured ends an agent that is to go on with another configuration.
type reconfigured struct{ wish }

func (*reconfigured) Error() string { return "the agent goes on with another configuration" }

// source is the configuration file as it was read when the agent started.
type source struct {
	path string
	text []byte
}

// lives is one agent after the other in this process: each but the first begins because the cloud wants other settings.
// The state directory is this process's all the while.
func lives(ctx context.Context, c *Config, w world, log *slog.Logger) error {
	a, err := newAgent(c, w, log)
	if err != nil {
		return err
	}
	defer func() { a.close() }()
	ctx, stop := context.WithCancel(ctx)
	var follower sync.WaitGroup
	defer follower.Wait()
	defer stop()
	follower.Go(func() { a.cloud.follow(ctx) })
	for {
		err := a.life(ctx)
		other, again := errors.AsType[*reconfigured](err)
		if ctx.Err() != nil {
			return nil
		}
		next := (*agent)(nil)
		if again {
			next, err = a.succeed(other.wish)
		}
		if next == nil {
			a.cloud.failed()
			return err
		}
		a = next
	}
}

// life is from the first reading to the last.
func (a *agent) life(ctx context.Context) error {
	a.log.Info("agent starts", "version", version(), "device", a.config.Device.ID, "waiting", a.waiting())
	err := a.run(ctx)
	if ctx.Err() != nil {
		a.log.Info("agent stops", "waiting", a.waiting())
	}
	return err
}

// succeed closes a and opens the agent that the cloud wishes, or one as a was where that cannot be.
func (a *agent) succeed(w wish) (*agent, error) {
	a.log.Info("the cloud has changed settings, going on with these")
	a.put()
	world := a.world
	world.lock, world.cloud = a.lock, a.cloud
	next, no := newAgent(w.config, world, a.log)
	if no != nil {
		var err error
		if next, err = newAgent(a.config, world, a.log); err != nil {
			return nil, err
		}
	}
	w.done <- no
	return next, nil
}
