// Package remote is what the cloud can ask of the device: other settings, a direct method, a message for a program here.
//
// The device twin and direct methods are as "Understand and use device twins in IoT Hub" and "Understand and invoke
// direct methods from IoT Hub" (Microsoft Learn) have them.
package remote

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Session is the device's connection to its twin.
type Session interface {
	// Twin returns {"desired":{…,"$version":N},"reported":{…,"$version":M}}. Changes of what is desired, from the moment
	// of this answer on, are told to Remote.Desired.
	Twin(ctx context.Context) ([]byte, error)
	// Report merges patch into what is reported. Nil: it has arrived.
	Report(ctx context.Context, patch []byte) (version int64, err error)
	// Done is closed when the session has ended.
	Done() <-chan struct{}
}

// Config is what the cloud may do, and with what. Lend is needed, all else may be left out.
type Config struct {
	// Lend returns the session in force, or waits for one.
	Lend func(ctx context.Context) (Session, error)
	Key  string // under which the twin has our part, desired and reported; "" is devid-agent

	Change   []string  // what the twin may set: a path, with all that is below it; none: nothing
	Settings []Setting // what can be set while the agent runs
	// Validate says what is wrong with the changes, which have the shape of the configuration file; none: nothing.
	Validate func(changes map[string]any) []error
	Files    Files // keeps the last good changes; nil: they last until the agent ends

	Methods []string // names that the cloud may call; "*" is all those of programs
	Actions Actions  // what stands behind our own methods
	Status  func() Status

	Every  time.Duration // how often the status is looked at; 0 is 15 min
	Spread time.Duration // a twin is read at a random moment within so long after the connect; 0 is 30 s
	Log    *slog.Logger  // nil = silent
}

// Files keeps small files. A *durable.Dir is one.
type Files interface {
	// Read returns the content of name; only an error that is fs.ErrNotExist means that there is none.
	Read(name string) ([]byte, error)
	// Write returns once b is on the medium under name, replacing what was there.
	Write(name string, b []byte) error
}

const (
	usualKey    = "devid-agent"
	usualEvery  = 15 * time.Minute
	usualSpread = 30 * time.Second
)

// Remote answers the cloud. Desired, Method, Message and Handler may be used from the start, side by side.
type Remote struct {
	config   Config
	patches  chan patch
	missed   chan struct{} // a patch that found no room
	nudge    chan struct{} // the status has changed
	programs programs
	inbox    inbox
	power    power

	restored sync.Once

	// owned by Run
	desired *desired
	known   map[string]any // what the twin has as reported under our key; nil: not known
	refused []byte         // the report that the hub has not taken
}

// New returns a Remote that does as c says. It starts nothing.
func New(c Config) *Remote {
	if c.Key == "" {
		c.Key = usualKey
	}
	if c.Every <= 0 {
		c.Every = usualEvery
	}
	if c.Spread <= 0 {
		c.Spread = usualSpread
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Remote{
		config:   c,
		patches:  make(chan patch, 16),
		missed:   make(chan struct{}, 1),
		nudge:    make(chan struct{}, 1),
		programs: newPrograms(),
		inbox:    newInbox(),
		desired:  newDesired(c),
	}
}

// Changed says that the status is another one, which would otherwise be seen when it is looked at next.
func (r *Remote) Changed() { ring(r.nudge) }

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// Restore puts in force what was before the agent ended, at its first call. Whoever opens things as the settings say
// calls it before.
func (r *Remote) Restore() { r.restored.Do(r.desired.restore) }

// End says that the agent ends in an orderly way, so that its settings are not to blame. Run says it, too.
func (r *Remote) End() { r.desired.stop() }

// Failed says that the agent ends since it cannot go on: what is on trial may be why.
func (r *Remote) Failed() { r.desired.failed.Store(true) }

// Run restores, then follows the twin, session by session, until ctx ends. What goes wrong with the twin is logged, tried
// again later, and never the agent's end.
func (r *Remote) Run(ctx context.Context) error {
	r.Restore()
	defer r.End()
	var backoff fault.Backoff
	var last Session
	for {
		s, err := r.lend(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && s != last {
			last = s
			r.pause(ctx, s, rand.N(r.config.Spread)) // a fleet that comes back together shall not read all twins together
		}
		if err == nil {
			err = r.attend(ctx, s, &backoff)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			wait, _ := backoff.Next(err)
			if at, on := r.desired.deadline(); on {
				wait = max(min(wait, time.Until(at)), 0)
			}
			r.config.Log.Warn("the twin has to wait", "err", err, "kind", fault.Of(err), "hint", fault.Hint(err), "wait", wait.Round(time.Second))
			r.pause(ctx, s, wait)
		}
	}
}

// lend is the session in force, once there is one. Where it does not come because of settings on trial, those before are
// put in force meanwhile.
func (r *Remote) lend(ctx context.Context) (Session, error) {
	at, on := r.desired.deadline()
	if !on {
		return r.config.Lend(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, at)
	defer cancel()
	s, err := r.config.Lend(limited)
	if limited.Err() == nil || ctx.Err() != nil {
		return s, err
	}
	r.desired.retreat()
	return r.config.Lend(ctx)
}

// pause returns after d, or when the session or ctx ends.
func (r *Remote) pause(ctx context.Context, s Session, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	var done <-chan struct{}
	if s != nil {
		done = s.Done()
	}
	select {
	case <-timer.C:
	case <-done:
	case <-ctx.Done():
	}
}

// attend follows the twin in one session. Nil: it has ended, or the twin must be read again.
func (r *Remote) attend(ctx context.Context, s Session, backoff *fault.Backoff) error {
	if err := r.read(ctx, s); err != nil {
		return unlessOver(s, err)
	}
	timer := time.NewTimer(r.config.Every)
	defer timer.Stop()
	for {
		if err := r.report(ctx, s); err != nil {
			return unlessOver(s, err)
		}
		r.desired.reached()
		backoff.Next(nil)
		r.pause(ctx, s, r.desired.peace()) // what comes meanwhile is read at once
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.Done():
			return nil
		case <-r.missed:
			return nil
		case p := <-r.patches:
			if !r.patch(p) {
				return nil
			}
		case <-r.nudge:
		case <-timer.C:
			timer.Reset(r.config.Every)
		}
	}
}

// unlessOver drops the error of a session that has ended: the next one is waited for anyhow.
func unlessOver(s Session, err error) error {
	select {
	case <-s.Done():
		return nil
	default:
		return err
	}
}
