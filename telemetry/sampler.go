package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// ErrNoData is in the error of a Source that has nothing to measure on this machine. It is no fault.
var ErrNoData = errors.New("nothing to measure on this machine")

// Source measures one aspect of the machine.
type Source interface {
	// Name is the source's key in a sample.
	Name() string
	// Read returns what it measures now, as values that encoding/json knows. ErrNoData where there is nothing.
	// With any other error it returns also what could be read in spite of it.
	Read(ctx context.Context) (map[string]any, error)
}

// Appender keeps readings. A *spool.Spool is one.
type Appender interface {
	// Append stores body and returns once it is on the medium.
	Append(ctx context.Context, stream string, body []byte) (seq uint64, err error)
}

// MachineStream is the stream of the samples.
const MachineStream = "machine"

const (
	usualEvery   = time.Minute
	usualTimeout = 5 * time.Second
)

// Sampler measures the machine at a steady pace and spools one sample each time: a JSON object with the "time"
// (RFC 3339, UTC) and an object for each source that had something to say.
type Sampler struct {
	Spool   Appender
	Sources []Source
	Every   time.Duration // between two samples; 0 is 30 s
	Timeout time.Duration // of reading one source; 0 is 5 s
	Log     *slog.Logger

	taken, refused atomic.Uint64
	broken         map[string]bool // sources whose last read had an error; owned by Run
	refusing       bool            // the spool did not take the last sample; owned by Run
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

// Run samples at once and then at every interval, until ctx ends or the spool is past all help (Fatal).
func (s *Sampler) Run(ctx context.Context) error {
	s.broken = map[string]bool{}
	pace := time.NewTicker(or(s.Every, usualEvery))
	defer pace.Stop()
	for {
		if err := s.sample(ctx); fault.Of(err) == fault.Fatal {
			return fmt.Errorf("sampler: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
	}
}

// sample measures once and spools what it got.
func (s *Sampler) sample(ctx context.Context) error {
	body := s.measure(ctx, time.Now())
	if body == nil || ctx.Err() != nil {
		return nil
	}
	_, err := s.Spool.Append(ctx, MachineStream, body)
	if ctx.Err() != nil && fault.Stopped(err) {
		return nil
	}
	s.account(err)
	return err
}

// account counts a sample and tells of a change.
func (s *Sampler) account(err error) {
	if err == nil {
		s.taken.Add(1)
	} else {
		s.refused.Add(1)
	}
	switch {
	case err != nil && !s.refusing:
		s.Log.Error("samples are lost: the spool does not take them", "err", err, "hint", fault.Hint(err))
	case err == nil && s.refusing:
		s.Log.Info("the spool takes samples again", "lost", s.refused.Load())
	}
	s.refusing = err != nil
}

// measure reads all sources into one body; nil when none has anything to say.
func (s *Sampler) measure(ctx context.Context, now time.Time) []byte {
	var body bytes.Buffer
	fmt.Fprintf(&body, `{"time":%q`, now.UTC().Format(time.RFC3339Nano))
	empty := body.Len()
	for _, source := range s.Sources {
		if reading := s.read(ctx, source); reading != nil {
			fmt.Fprintf(&body, ",%q:%s", source.Name(), reading)
		}
	}
	if body.Len() == empty {
		return nil
	}
	body.WriteByte('}')
	return body.Bytes()
}

// read returns what source measures as JSON, nil where that is nothing, and tells of a change in its health.
func (s *Sampler) read(ctx context.Context, source Source) (reading []byte) {
	ctx, stop := context.WithTimeout(ctx, or(s.Timeout, usualTimeout))
	defer stop()
	values, err := source.Read(ctx)
	if errors.Is(err, ErrNoData) {
		err = nil
	}
	if len(values) > 0 {
		var bad error
		reading, bad = json.Marshal(values)
		err = errors.Join(err, bad)
	}
	if !fault.Stopped(err) {
		s.health(source.Name(), err)
	}
	return reading
}

func (s *Sampler) health(name string, err error) {
	switch {
	case err != nil && !s.broken[name]:
		s.Log.Warn("a sensor does not answer as it should", "source", name, "err", err)
	case err == nil && s.broken[name]:
		s.Log.Info("a sensor answers again", "source", name)
	}
	s.broken[name] = err != nil
}

func or(d, usual time.Duration) time.Duration {
	if d == 0 {
		return usual
	}
	return d
}
