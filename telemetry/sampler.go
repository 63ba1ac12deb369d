package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// ErrNoData is in the error of a Source that has nothing to measure on this machine. It is no fault.
var ErrNoData = errors.New("nothing to measure on this machine")

// Source measures one aspect of the machine.
type Source interface {
	// Name is the source's key in a sample.
	Name() string
	// Read returns what it measures now, as values that encoding/json knows. ErrNoData where there is nothing.
	// With any other error it returns also what could be read in spite of it. It is not called again before it has
	// returned.
	Read(ctx context.Context) (map[string]any, error)
}

// Appender keeps readings. A *spool.Spool is one.
type Appender interface {
	// Append stores body and returns once it is on the medium.
	Append(ctx context.Context, stream string, body []byte) (seq uint64, err error)
}

// MachineStream is the stream of a probe that names no other.
const MachineStream = "machine"

const (
	usualEvery     = time.Minute
	usualTimeout   = 5 * time.Second
	usualHeartbeat = time.Hour
	// grain is what deadlines of a second and more are rounded up to, counted from the start: so many probes wake the
	// processor together, once a second at most.
	grain = time.Second
	// patience is how long the sources that have answered wait for those that have not. A 1-wire thermometer takes 0.75 s.
	patience = time.Second
	// reads is how many may be under way at once. One that hangs in the kernel holds a thread and cannot be ended.
	reads = 32
	// waiting is how many readings wait in memory for a spool that is slow.
	waiting = 256
)

// Sampler reads each source at its own pace and spools what came of it. Sources that report into the same stream at the
// same moment share a reading: a JSON object with the "time" (RFC 3339, UTC) and an object for each source that had
// something to say.
type Sampler struct {
	Spool   Store
	Sources []Source      // each reported as it is into MachineStream, at every interval
	Every   time.Duration // between two samples of Sources; 0 is a minute
	Timeout time.Duration // of reading one source, where its probe says nothing else; 0 is 5 s
	Probes  []Probe       // beside Sources, each at its own pace
	Log     *slog.Logger

	taken, refused atomic.Uint64
	change         sync.Mutex
	next           []Probe       // what Change has asked for, under change
	changed        chan struct{} // under change until Run has it

	// owned by Run
	clock    func() time.Time // nil = time.Now
	started  time.Time
	probes   []*probe
	tick     tick
	under    int // reads under way
	answers  chan answer
	queue    []spool.Reading
	writing  bool
	written  chan []error
	refusing bool // the spool did not take the last sample
}

// Samples counts what became of the samples since the start.
type Samples struct {
	Taken   uint64 `json:"taken"`   // on the medium
	Refused uint64 `json:"refused"` // lost, since the spool did not take them
}

// Samples is the count so far.
func (s *Sampler) Samples() Samples {
	return Samples{Taken: s.taken.Load(), Refused: s.refused.Load()}
}

// Change makes probes what is sampled from now on, in place of Sources and Probes. What the probes before have read and
// not yet reported is dropped. It may be called at any time, also before Run.
func (s *Sampler) Change(probes []Probe) {
	s.change.Lock()
	defer s.change.Unlock()
	s.next = probes
	select {
	case s.bell() <- struct{}{}:
	default: // it rings already
	}
}

// bell is made by whoever needs it first; s.change is held.
func (s *Sampler) bell() chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{}, 1)
	}
	return s.changed
}

// Run samples at once and then at every deadline, until ctx ends or the spool is past all help (Fatal). Before it returns
// it gives reads that are under way a second to end.
func (s *Sampler) Run(ctx context.Context) error {
	s.answers, s.written = make(chan answer, reads), make(chan []error, 1)
	s.change.Lock()
	changed := s.bell()
	s.change.Unlock()
	s.adopt(s.all())
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer s.settle()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-changed:
			s.adopt(s.asked())
		case a := <-s.answers:
			s.take(a)
		case errs := <-s.written:
			if err := s.account(errs); fault.Of(err) == fault.Fatal {
				return fmt.Errorf("sampler: %w", err)
			}
		}
		s.turn(ctx, s.now())
		timer.Reset(s.wake().Sub(s.now()))
	}
}

// all is Sources and Probes as probes.
func (s *Sampler) all() []Probe {
	var all []Probe
	for _, source := range s.Sources {
		all = append(all, Probe{Source: source, Every: s.Every})
	}
	return append(all, s.Probes...)
}

func (s *Sampler) asked() []Probe {
	s.change.Lock()
	defer s.change.Unlock()
	return s.next
}

// adopt begins anew with these probes. Reads of the ones before that are under way are forgotten when they end.
func (s *Sampler) adopt(list []Probe) {
	s.started, s.probes, s.tick = s.now(), nil, tick{}
	for _, p := range list {
		s.probes = append(s.probes, newProbe(p, s.Timeout, s.started))
	}
}

// now is the time of day, which may be set at any moment; deadlines go by the monotonic reading beside it.
func (s *Sampler) now() time.Time {
	if s.clock != nil {
		return s.clock()
	}
	return time.Now()
}

// turn does what is due: it ends a tick that is complete or has waited long enough, begins the next, and writes.
func (s *Sampler) turn(ctx context.Context, now time.Time) {
	if s.tick.over(now) {
		s.report(s.tick.end(), s.tick.at)
	}
	if due := s.due(now); len(due) > 0 {
		if s.tick.open {
			s.report(s.tick.end(), s.tick.at)
		}
		s.begin(ctx, due, now)
	}
	s.overdue(now)
	s.write(ctx)
}

// wake is when there is something to do even if nothing happens.
func (s *Sampler) wake() time.Time {
	at := s.now().Add(time.Hour)
	if s.tick.open {
		at = s.tick.until
	}
	for _, p := range s.probes {
		if p.next.Before(at) {
			at = p.next
		}
		if p.reading && !p.hanging && p.limit.Before(at) {
			at = p.limit
		}
	}
	return at
}

// settle waits for what is under way: a command that is killed at the end is gone when Run returns. What hangs is left.
func (s *Sampler) settle() {
	enough := time.NewTimer(time.Second)
	defer enough.Stop()
	for s.under > s.hanging() || s.writing {
		select {
		case a := <-s.answers:
			s.under--
			a.probe.reading, a.probe.hanging = false, false
		case errs := <-s.written:
			_ = s.account(errs) // who asked for the stop needs no more than that
		case <-enough.C:
			return
		}
	}
}
