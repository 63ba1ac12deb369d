package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"golang.org/x/sync/errgroup"
)

func runCommand(ctx context.Context, o *commands.Options, _ io.Writer) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1) // before anybody can know this process by the lock
	defer signal.Stop(asked)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // who reads the log may go: that ends no process (os/signal, "SIGPIPE")
	renewals := make(chan struct{}, 1)
	go forwardSignal(ctx, asked, renewals)
	c, w, log, err := setUp(o)
	if err != nil {
		return err
	}
	w.renewals = renewals
	return lives(ctx, c, w, log)
}

// setUp reads the configuration, and makes the log.
func setUp(o *commands.Options) (*Config, world, *slog.Logger, error) {
	text, p := readSource(o.Config)
	if p != nil {
		return nil, world{}, nil, complain([]problem{*p})
	}
	c, err := parseConfig(o.Config, text, nil)
	if err != nil {
		return nil, world{}, nil, err
	}
	w := world{file: source{o.Config, text}, level: new(slog.LevelVar)}
	w.level.Set(c.Log.Level)
	return c, w, newLog(c, w.level, o.ErrOut), nil
}

func prepare(o *commands.Options) (*agent, error) {
	c, w, log, err := setUp(o)
	if err != nil {
		return nil, err
	}
	return newAgent(c, w, log)
}

// forwardSignal makes SIGUSR1 ask for a renewal: that is how the renew command reaches a running agent.
func forwardSignal(ctx context.Context, asked <-chan os.Signal, renewals chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		}
		select {
		case renewals <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// outcome is what enroll and renew print.
type outcome struct {
	Identity *identityStatus   `json:"identity,omitempty"`
	Trouble  *commands.Trouble `json:"trouble,omitempty"`
}

func (o outcome) print(opt *commands.Options, out io.Writer, done string) error {
	if opt.JSON {
		return commands.PrintJSON(out, o)
	}
	id := o.Identity
	_, err := fmt.Fprintf(out, "%s: %s at %s, generation %d, %s\n", done, id.DeviceID, id.Hub, id.Generation, id.credential(time.Local))
	return err
}

func enrollCommand(ctx context.Context, o *commands.Options, out io.Writer) error {
	return once(ctx, o, out, "enrolled", func(ctx context.Context, d *device) error {
		if d.identities.Current() != nil {
			return nil // enrolled already: asking again is legal and changes nothing
		}
		return d.renewer.Advance(ctx)
	})
}

func renewCommand(ctx context.Context, o *commands.Options, out io.Writer) error {
	c, err := loadConfig(o.Config)
	if err != nil {
		return err
	}
	if pid := running(c.Device.State); pid != 0 {
		return renewRunning(ctx, o, c, pid, out)
	}
	return once(ctx, o, out, "renewed", func(ctx context.Context, d *device) error { return d.renewer.Advance(ctx) })
}

// once does one thing with the device, and prints who it is then.
func once(ctx context.Context, o *commands.Options, out io.Writer, done string, work func(context.Context, *device) error) error {
	id, err := alone(ctx, o, work)
	if err != nil {
		return err
	}
	return outcome{Identity: viewIdentity(id)}.print(o, out, done)
}

// alone does work in a process of its own and returns the identity in force then: the pump runs, because proving an
// identity is connecting as it.
func alone(ctx context.Context, o *commands.Options, work func(context.Context, *device) error) (*identity.Identity, error) {
	signal.Ignore(syscall.SIGUSR1) // somebody else's renew may take us for the agent
	defer signal.Reset(syscall.SIGUSR1)
	a, err := prepare(o)
	if err != nil {
		return nil, err
	}
	defer a.close()
	d, err := a.newDevice(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.during(ctx, work); err != nil {
		return nil, err
	}
	return d.identities.Current(), nil
}

// during does work while the pump and the renewer run, and stops them after it.
func (d *device) during(ctx context.Context, work func(context.Context, *device) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.pump.Run(ctx) })
	// The renewer's loop is not needed: Advance is called here, by the one goroutine that may.
	var result error
	group.Go(func() error {
		defer stop()
		result = work(ctx, d)
		return result
	})
	if err := group.Wait(); result == nil && !fault.Stopped(err) {
		return err
	}
	return result
}

// renewRunning asks the agent that has the state directory, and waits for what comes of it.
func renewRunning(ctx context.Context, o *commands.Options, c *Config, pid int, out io.Writer) error {
	before, _, err := identity.Look(identityDir(c))
	if err != nil {
		return err
	}
	asked := time.Now()
	if err := wake(pid); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for sleep(waiting, 200*time.Millisecond) {
		now, _, err := identity.Look(identityDir(c))
		if err != nil {
			return err
		}
		if now != nil && (before == nil || now.Generation > before.Generation) {
			return outcome{Identity: viewIdentity(now)}.print(o, out, "renewed")
		}
		if t := failedSince(c, asked); t != nil {
			return fault.AskOperator(errors.New(t.Error), t.Hint)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault.AskOperator(errors.New("the agent has not renewed within 5 minutes"), "see what keeps it: devid-agent status")
}

// wake asks the agent that has the state directory for a renewal.
func wake(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		return fault.AskOperator(fmt.Errorf("wake the agent, process %d: %w", pid, err), "run this as root or as the user of the agent")
	}
	return nil
}

// failedSince is what the running agent says of a renewal that it tried after asked, and that failed.
func failedSince(c *Config, asked time.Time) *commands.Trouble {
	s, err := readStatus(c)
	if err != nil || s.Renewal == nil || s.Renewal.LastTry == nil || !s.Renewal.LastTry.After(asked) {
		return nil
	}
	if t, ok := s.Troubles["renewal"]; ok {
		return &t
	}
	return nil
}
