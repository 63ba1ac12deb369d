// Package renew moves the device from one identity to the next, and from none to the first.
//
// There is one procedure, Advance: make a key, get it certified, write that down, prove it to the cloud, rename it
// into force, sweep. It may be cut anywhere and called again.
package renew

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/provisioning"
)

// Config is what a Renewer works with.
type Config struct {
	Identities *identity.Store
	DeviceID   string // registration ID

	// First enrolls from nothing. It is also the way back when the identity in force is expired or refused.
	First provisioning.Enroller
	// FirstKey names the key that First's certificate is for; "" is a fresh one for each generation.
	FirstKey string
	// Tokens says that First gives no certificate and needs no key: the device shows tokens, and nothing is renewed.
	Tokens bool
	// Renew enrolls with the identity in force; nil leaves that to First. RenewKey is to it what FirstKey is to First.
	Renew    provisioning.Enroller
	RenewKey string
	// Prove returns once the hub has accepted the identity and telemetry goes on as it. An error that is not
	// Transient says that the hub refused, and that telemetry goes on as before.
	Prove func(ctx context.Context, id *identity.Identity) error
	// Refused tells that the hub does not know the identity in force any more, and Accepted whether it does after all.
	Refused  <-chan struct{}
	Accepted func() bool

	Backoff fault.Backoff
	// RescueEvery is the wait between two ways back through First for a device that is refused; it doubles, up to a
	// day, while the hub goes on refusing. 0 is 1 h.
	RescueEvery time.Duration
	// Look is how long the loop sleeps at most before it looks at the wall clock again, which may have been set while
	// the machine slept; 0 is 1 h.
	Look time.Duration
	Log  *slog.Logger
}

// Renewer keeps the device's identity fresh.
type Renewer struct {
	Config
	asked    chan chan error
	changes  chan struct{}
	refused  bool
	around   bool      // the last try went through First, for a certificate that was about to expire
	detour   time.Time // it does so not before
	rescuing bool      // the identity to prove comes from First, for a device that had one
	rescued  time.Time // when that was last tried to its end
	rescues  int       // in a row, without the hub's acceptance
	promoted time.Time // when the identity in force got there, in this process
	next     time.Time // not before
	report   atomic.Pointer[Report]

	now func() time.Time // the time of day, which may be set at any moment, and a monotonic reading beside it
}

// Report is the renewer's state for people.
type Report struct {
	Count     int       // promotions in this process
	RenewAt   time.Time // zero before the first enrollment
	LastTry   time.Time // when the last try ended
	NextTry   time.Time // zero unless the last try failed
	LastError error     // nil after a success
	Turn      time.Time // the loop has turned by then, unless it hangs
}

// New returns a renewer that is ready to Run.
func New(c Config) *Renewer {
	r := &Renewer{Config: c, asked: make(chan chan error), changes: make(chan struct{}, 1), now: time.Now}
	r.report.Store(&Report{})
	return r
}

// Report is the state after the last turn of the loop.
func (r *Renewer) Report() Report { return *r.report.Load() }

// patience bounds one Advance: a hub may take minutes to issue, a TPM seconds to make a key.
const patience = 20 * time.Minute

// Run renews when it is time, until ctx ends or an error is Fatal.
func (r *Renewer) Run(ctx context.Context) error {
	for {
		wait := r.wait(r.now())
		r.tell(func(t *Report) { t.Turn = r.now().Add(wait) })
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.Refused:
			r.refused = true
		case answer := <-r.asked:
			err := r.advance(ctx)
			answer <- err
			if fault.Of(err) == fault.Fatal {
				return err
			}
		case <-time.After(wait):
			if !r.due(r.now()) {
				continue
			}
			if err := r.advance(ctx); fault.Of(err) == fault.Fatal || fault.Stopped(err) {
				return err
			}
		}
	}
}

// Force advances now, whatever the certificate's age, and returns how that went. It works while Run runs.
func (r *Renewer) Force(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case r.asked <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// advance is Advance within a bound of time, with its outcome noted for the next turn of the loop.
func (r *Renewer) advance(ctx context.Context) error {
	r.tell(func(t *Report) { t.Turn = r.now().Add(patience) })
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := r.Advance(bounded)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	wait, _ := r.Backoff.Next(err)
	if cur := r.Identities.Current(); err != nil && cur != nil && cur.Certified() {
		// Retries grow denser towards expiry: no certificate dies of a slow cadence.
		if left := cur.Leaf().NotAfter.Sub(r.now()) / 8; left > 0 {
			wait = min(wait, max(left, r.floor()))
		}
	}
	r.next = r.now().Add(wait)
	if err != nil && r.around {
		r.detour, r.next = r.next, r.now().Add(r.floor()) // the usual way has its turn
	}
	r.note(err)
	return err
}

func (r *Renewer) floor() time.Duration {
	if r.Backoff.Min != 0 {
		return r.Backoff.Min
	}
	return time.Second
}

func (r *Renewer) note(err error) {
	now := r.now()
	if err == nil {
		r.promoted = now
		r.tell(func(t *Report) { t.Count++; t.LastTry, t.LastError, t.NextTry = now, nil, time.Time{} })
		return
	}
	r.tell(func(t *Report) { t.LastTry, t.LastError, t.NextTry = now, err, r.next })
	r.Log.Warn("identity not advanced", "err", err, "kind", fault.Of(err), "hint", fault.Hint(err), "wait", r.next.Sub(now).Round(time.Millisecond))
}

// When is the time of the next renewal, zero before the first enrollment and where there is no certificate.
func (r *Renewer) When() time.Time {
	cur := r.Identities.Current()
	if cur == nil || !cur.Certified() {
		return time.Time{}
	}
	leaf := cur.Leaf()
	when := When(leaf, r.DeviceID)
	if life := leaf.NotAfter.Sub(leaf.NotBefore); when.Before(r.promoted.Add(life / 20)) {
		// A certificate that is old when it is issued must not make a loop: half of what is left.
		return r.promoted.Add(leaf.NotAfter.Sub(r.promoted) / 2)
	}
	return when
}

// due reports whether there is something to advance to, now.
func (r *Renewer) due(now time.Time) bool { return r.wait(now) <= 0 }

// wait is how long to sleep until it is time, at most look. A certificate's dates are held against the time of day; what
// was to wait for since a try is counted by the monotonic clock, whatever the time of day was then. Only as durations can
// the two be compared.
func (r *Renewer) wait(now time.Time) time.Duration {
	if r.refused && r.Accepted() {
		r.refused, r.rescues = false, 0
	}
	at := r.When()
	r.tell(func(t *Report) { t.RenewAt = at })
	if cur := r.Identities.Current(); r.Tokens && cur != nil && !cur.Certified() {
		at = now.Add(hourly(r.Look))
	}
	if r.Identities.Pending() != nil {
		at = now
	} else if r.refused {
		at = r.rescued.Add(min(hourly(r.RescueEvery)<<min(max(r.rescues-1, 0), 8), 24*time.Hour))
	}
	return min(max(at.Sub(now), r.next.Sub(now), 0), hourly(r.Look))
}

func hourly(d time.Duration) time.Duration {
	if d == 0 {
		return time.Hour
	}
	return d
}

func (r *Renewer) tell(change func(*Report)) {
	t := r.Report()
	tried := t.LastTry
	change(&t)
	r.report.Store(&t)
	if !t.LastTry.Equal(tried) {
		select {
		case r.changes <- struct{}{}:
		default:
		}
	}
}

// Changes tells that a try has ended.
func (r *Renewer) Changes() <-chan struct{} { return r.changes }
