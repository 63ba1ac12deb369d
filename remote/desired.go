package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// desired brings what the twin wants in force.
type desired struct {
	config  Config
	failed  atomic.Bool    // the agent ends in another way than orderly
	version int64          // of the twin
	section map[string]any // what the twin has for us

	mu      sync.Mutex // guards what follows: the trial's minute ends by itself
	inForce map[string]any
	kept    kept
	trial   trial // of what is in force
	spent   time.Duration
	counted time.Time // spent was so much then
}

func newDesired(c Config) *desired { return &desired{config: c} }

// restore puts in force what was before the agent ended.
func (d *desired) restore() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.load()
	if c := d.kept.Trial; c != nil && d.kept.Lives >= lives {
		d.condemn(fmt.Sprintf("the agent has ended %d times within %v of applying this", lives, minute))
	} else if c != nil {
		d.try(*c)
	}
	if d.kept.Trial == nil {
		d.force(d.kept.Good)
	}
}

// force applies changes that were good, as far as the file still allows it.
func (d *desired) force(c changes) {
	errs := d.config.check(c.Set)
	if len(errs) == 0 {
		if err := d.config.apply(d.inForce, c.Set); err != nil {
			errs = []string{err.Error()}
		}
	}
	if len(errs) > 0 {
		d.config.Log.Error("settings from the twin no longer fit: the file's hold", "version", c.Version, "errors", errs)
		return
	}
	d.inForce = c.Set
}

// want makes set, at this version of the twin, what is in force; or says why it is not.
func (d *desired) want(version int64, set map[string]any) {
	d.version, d.section = version, set
	set = d.config.meant("", set)
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.kept.Trial; t != nil && d.trial.timer == nil && !same(t.Set, set) { // taken back, and not wanted any more
		d.kept.Trial, d.kept.Lives = nil, 0
		d.save()
	}
	switch no := d.kept.Refused; {
	case len(set) == 0 && len(d.inForce) == 0, same(set, d.inForce):
		if no != nil {
			d.accept()
			d.save()
		}
	case no != nil && same(no.Set, set) && (no.Version == version || d.kept.Deadly):
		// It is as bad as it was.
	default:
		d.consider(changes{version, set})
	}
}

func (d *desired) consider(c changes) {
	d.spend()
	if errs := d.config.check(c.Set); len(errs) > 0 {
		d.refuse(c, errs)
		d.save()
		return
	}
	if t := d.kept.Trial; t == nil || !same(t.Set, c.Set) {
		d.kept.Lives = 0
	}
	d.try(c)
}

// The first changes are taken as they come, further ones one in a while: each costs flash, and may cost a session.
const (
	freely  = 20
	aChange = 5 * time.Minute
)

func (d *desired) spend() {
	now := time.Now()
	d.spent = max(d.spent-now.Sub(d.counted), 0) + aChange
	d.counted = now
}

// peace is how long the next change has to wait.
func (d *desired) peace() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(d.spent-time.Since(d.counted), 0) - (freely-1)*aChange
}

// try applies changes and puts them on trial. The file says so before: it may be the last thing that the agent does.
func (d *desired) try(c changes) {
	before := d.kept
	d.accept()
	d.kept.Trial, d.kept.Lives = &c, d.kept.Lives+1
	d.save()
	errs := d.config.check(c.Set)
	if len(errs) == 0 {
		err := d.config.apply(d.inForce, c.Set)
		if errors.Is(err, context.Canceled) { // the agent ends meanwhile: the next one tries
			d.rest()
			d.survive()
			return
		}
		if err != nil {
			errs = []string{err.Error()}
		}
	}
	if len(errs) > 0 {
		d.kept.Trial, d.kept.Lives = before.Trial, before.Lives
		if before.Trial != nil && same(before.Trial.Set, c.Set) {
			d.kept.Trial, d.kept.Lives = nil, 0
		}
		d.refuse(c, errs)
		d.save()
		return
	}
	d.inForce = c.Set
	d.begin()
	d.config.Log.Info("settings from the twin are in force", "version", c.Version)
}

func (d *desired) accept() { d.kept.Refused, d.kept.Errors, d.kept.Deadly = nil, nil, false }

// refuse gives changes up. What is in force stays.
func (d *desired) refuse(c changes, errs []string) {
	d.kept.Refused, d.kept.Errors, d.kept.Deadly = &c, bounded(errs), false
	d.config.Log.Error("settings from the twin are refused", "version", c.Version, "errors", d.kept.Errors)
}

// result is what the twin is told.
func (d *desired) result() map[string]any {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := map[string]any{"version": d.version, "applied": d.kept.Refused == nil}
	if d.kept.Refused != nil {
		r["errors"] = d.kept.Errors
	}
	return r
}
