package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Probe is a source with a pace, a place and a way of summing up of its own. Only Source must be set.
type Probe struct {
	Source    Source
	Name      string        // its key in a reading; "" is the source's name
	Stream    string        // "" is MachineStream
	Unit      string        // is told beside the values, where it is set
	Only      []string      // the values to keep, by their path: see Match; nil is all
	Every     time.Duration // between two reads; 0 is a minute
	Report    time.Duration // between two reports; anything less than Every is Every
	Keep      Keep          // what a report makes of the reads since the last one
	Bounds    []float64     // the upper bounds of a histogram's buckets, ascending
	Deadband  float64       // a number that has moved no further since it was reported is left out; 0 reports all
	Heartbeat time.Duration // everything is reported at least so often in spite of Deadband; 0 is an hour
	Timeout   time.Duration // of one read; 0 is the sampler's
}

// probe is a Probe at work. It belongs to the sampler's loop.
type probe struct {
	Probe
	started time.Time
	next    time.Time // read
	report  time.Time // not before
	ripe    bool      // a report is due
	reading bool
	awaited bool      // by the tick
	limit   time.Time // of the read under way: then it hangs
	hanging bool
	gather  gather
	band    band
	health  health
}

type answer struct {
	probe  *probe
	values map[string]any
	err    error
}

func newProbe(p Probe, timeout time.Duration, now time.Time) *probe {
	p.Name = cmp.Or(p.Name, p.Source.Name())
	p.Stream = cmp.Or(p.Stream, MachineStream)
	p.Every = or(p.Every, usualEvery)
	p.Timeout = or(p.Timeout, or(timeout, usualTimeout))
	p.Heartbeat = or(p.Heartbeat, usualHeartbeat)
	at := &probe{Probe: p, started: now, next: now, report: now}
	if at.Report = max(p.Report, p.Every); p.Report > p.Every {
		at.report = now.Add(p.Report)
	}
	at.gather = gather{keep: p.Keep, bounds: p.Bounds, only: p.Only}
	return at
}

// after is the first deadline past now: a whole number of intervals since the start, on the grain.
func (p *probe) after(now time.Time) time.Time {
	gone := now.Sub(p.started)/p.Every*p.Every + p.Every
	if p.Every >= grain {
		gone = (gone + grain - 1) / grain * grain
	}
	return p.started.Add(gone)
}

// due is which probes are to be read, or to report, now. Their next deadlines are set: those that the machine slept
// through are not made up for.
func (s *Sampler) due(now time.Time) []*probe {
	var due []*probe
	for _, p := range s.probes {
		if now.Before(p.next) {
			continue
		}
		p.next = p.after(now)
		if !now.Before(p.report) {
			p.ripe = true
			p.report = p.started.Add(now.Sub(p.started)/p.Report*p.Report + p.Report)
		}
		due = append(due, p)
	}
	return due
}

// begin starts a read of each probe that is not being read still.
func (s *Sampler) begin(ctx context.Context, due []*probe, now time.Time) {
	s.tick = tick{open: true, at: now, until: now.Add(patience), members: due}
	for _, p := range due {
		switch {
		case p.reading:
		case s.under == reads:
			s.tell(p, fmt.Errorf("not read: %d reads hang", reads))
		default:
			s.start(ctx, p, now)
			p.awaited = true
			s.tick.awaited++
		}
	}
	if s.tick.awaited == 0 {
		s.report(s.tick.end(), now)
	}
}

// start reads p beside the loop: the kernel may hold a read for as long as a sensor likes, and then no context ends it.
func (s *Sampler) start(ctx context.Context, p *probe, now time.Time) {
	ctx, stop := context.WithTimeout(ctx, p.Timeout)
	p.reading, p.limit = true, now.Add(p.Timeout+2*patience) // killing takes a moment, too
	s.under++
	go func() {
		defer stop()
		values, err := p.Source.Read(ctx)
		s.answers <- answer{p, values, err}
	}()
}

// take adds what a read has found to what its probe will report. One that comes after its tick reports by itself.
func (s *Sampler) take(a answer) {
	p := a.probe
	s.under--
	p.reading, p.hanging = false, false
	if !slices.Contains(s.probes, p) {
		return // replaced by Change meanwhile
	}
	if errors.Is(a.err, ErrNoData) {
		a.err = nil
	}
	if err := errors.Join(a.err, p.gather.add(a.values)); !fault.Stopped(err) {
		s.tell(p, err)
	}
	if p.awaited {
		p.awaited = false
		s.tick.awaited--
	} else if p.ripe {
		s.report([]*probe{p}, s.now())
	}
}

// overdue tells of reads that did not even end at their deadline.
func (s *Sampler) overdue(now time.Time) {
	for _, p := range s.probes {
		if p.reading && !p.hanging && !now.Before(p.limit) {
			p.hanging = true
			s.tell(p, fmt.Errorf("the read hangs: no answer within %v, nor an end; it is not read again before it answers", p.Timeout))
		}
	}
}

func (s *Sampler) hanging() (n int) {
	for _, p := range s.probes {
		if p.hanging {
			n++
		}
	}
	return n
}

// tick is the probes whose deadlines fall together. What they have to say goes together where it comes in time.
type tick struct {
	open      bool
	at, until time.Time
	members   []*probe
	awaited   int
}

func (t *tick) over(now time.Time) bool {
	return t.open && (t.awaited == 0 || !now.Before(t.until))
}

func (t *tick) end() []*probe {
	t.open = false
	for _, p := range t.members {
		p.awaited = false
	}
	return t.members
}

// health is what was told of a probe.
type health struct {
	told string
	at   time.Time
}

// retell is how long a probe that stays broken is not told of again, whatever else its error says.
const retell = 10 * time.Minute

// tell logs a change of p's health.
func (s *Sampler) tell(p *probe, err error) {
	h, now := &p.health, s.now()
	switch {
	case err == nil && h.told != "":
		s.Log.Info("a sensor answers again", "source", p.Name)
		*h = health{}
	case err != nil && (h.told == "" || h.told != err.Error() && now.Sub(h.at) >= retell):
		s.Log.Warn("a sensor does not answer as it should", "source", p.Name, "err", err, "hint", fault.Hint(err))
		*h = health{err.Error(), now}
	}
}

func or(d, usual time.Duration) time.Duration {
	if d == 0 {
		return usual
	}
	return d
}
