package remote

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// minute is how long the agent must live with changes before they are the last good ones.
	minute = time.Minute
	// alone is how long it may be without the hub from their beginning on, before it goes on with those before.
	alone = 15 * time.Minute
	// lives is how many times one of the two may go wrong before changes are refused.
	lives = 3
)

// trial finds out whether the agent lives with what is in force, and whether it still reaches the hub: settings that cut it
// off could not be corrected from there.
type trial struct {
	timer   *time.Timer // ends the minute; nil where nothing is on trial
	begun   time.Time
	lived   bool // for the minute
	reached bool // the hub, since it has begun
}

// begin puts what is in force on trial.
func (d *desired) begin() {
	d.rest()
	d.trial = trial{timer: time.AfterFunc(minute, d.lived), begun: time.Now()}
}

func (d *desired) rest() {
	if d.trial.timer != nil {
		d.trial.timer.Stop()
		d.trial = trial{}
	}
}

func (d *desired) lived() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trial.timer != nil && time.Since(d.trial.begun) >= minute {
		d.trial.lived = true
		d.conclude()
	}
}

// reached says that the hub has answered.
func (d *desired) reached() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trial.timer != nil {
		d.trial.reached = true
		d.conclude()
	}
}

// conclude makes what was on trial the last good, if it has passed.
func (d *desired) conclude() {
	if d.trial.lived && d.trial.reached {
		d.rest()
		d.kept.Good, d.kept.Trial, d.kept.Lives = *d.kept.Trial, nil, 0
		d.save()
	}
}

// deadline is when the hub must have been reached; false where it has been, or where nothing is on trial.
func (d *desired) deadline() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trial.begun.Add(alone), d.trial.timer != nil && !d.trial.reached
}

// retreat goes on with the last good changes, since the hub was not reached with those on trial. It may not be their fault:
// they are tried again when the hub is reached.
func (d *desired) retreat() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trial.timer == nil || d.trial.reached {
		return
	}
	d.rest()
	d.config.Log.Error("the hub is not reached with settings from the twin, going on with those before", "version", d.kept.Trial.Version, "try", d.kept.Lives)
	if d.kept.Lives >= lives {
		d.condemn(fmt.Sprintf("the hub was not reached within %v of applying this, %d times", alone, lives))
	}
	switch err := d.config.apply(d.inForce, d.kept.Good.Set); {
	case err == nil:
		d.inForce = d.kept.Good.Set
	case !errors.Is(err, context.Canceled):
		d.config.Log.Error("settings from before do not come back", "err", err)
	}
}

// condemn refuses what is on trial until the twin has something else.
func (d *desired) condemn(why string) {
	c := *d.kept.Trial
	d.kept.Trial, d.kept.Lives = nil, 0
	d.refuse(c, []string{why})
	d.kept.Deadly = true
	d.save()
}

// stop ends a trial that the agent does not see to its end, for reasons of its own.
func (d *desired) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trial.timer != nil {
		d.survive()
	}
	d.rest()
}

// survive does not count this life against what is on trial, unless the agent fails.
func (d *desired) survive() {
	if !d.failed.Load() {
		d.kept.Lives--
		d.save()
	}
}
