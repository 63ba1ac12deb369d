package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// shelf is a spool in memory that refuses as long as it is told to.
type shelf struct {
	mu     sync.Mutex
	bodies []string
	at     []time.Time
	err    error
}

func (s *shelf) Append(ctx context.Context, stream string, body []byte) (uint64, error) {
	return s.Put(ctx, spool.Reading{Stream: stream, Body: body})
}

func (s *shelf) Put(_ context.Context, readings ...spool.Reading) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	for _, r := range readings {
		s.bodies, s.at = append(s.bodies, r.Stream+" "+string(r.Body)), append(s.at, time.Now())
	}
	return uint64(len(s.bodies)), nil
}

func (s *shelf) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

type fake struct {
	name string
	read func(ctx context.Context) (map[string]any, error)
}

func (f fake) Name() string                                     { return f.name }
func (f fake) Read(ctx context.Context) (map[string]any, error) { return f.read(ctx) }

func always(name string, values map[string]any, err error) Source {
	return fake{name, func(context.Context) (map[string]any, error) { return values, err }}
}

var warm = always("thermal", map[string]any{"cpu": 42.5}, nil)

// sampling runs s in a bubble for so long and returns what it logged.
func sampling(t *testing.T, s *Sampler, during func()) (log string, err error) {
	t.Helper()
	var b bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&b, nil))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	during()
	stop()
	err = <-ended
	return b.String(), err
}

func TestFirstSampleIsTakenAtOnceAndThenAtEachInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf, start := &shelf{}, time.Now()
		s := &Sampler{Spool: shelf, Sources: []Source{warm}, Every: 10 * time.Second}
		_, err := sampling(t, s, func() { time.Sleep(25 * time.Second) })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v", err)
		}
		for i, at := range shelf.at {
			if want := start.Add(time.Duration(i) * 10 * time.Second); !at.Equal(want) {
				t.Errorf("sample %d at %v, want %v", i, at.Sub(start), want.Sub(start))
			}
		}
		if got := s.Samples(); len(shelf.at) != 3 || got.Taken != 3 || got.Refused != 0 {
			t.Errorf("%d samples, counted %+v", len(shelf.at), got)
		}
	})
}

func TestSampleIsOneObjectWithTimeAndEachSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		s := &Sampler{Spool: shelf, Sources: []Source{
			warm,
			always("hwmon", nil, fmt.Errorf("read: %w", ErrNoData)),
			always("disk", map[string]any{"free_bytes": 12}, errors.New("sdb is broken")),
			always("odd", map[string]any{"x": math.NaN()}, nil),
		}}
		log, _ := sampling(t, s, synctest.Wait)
		stream, body, _ := strings.Cut(shelf.bodies[0], " ")
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil || stream != "machine" {
			t.Fatalf("stream %s, body %s: %v", stream, body, err)
		}
		at, err := time.Parse(time.RFC3339Nano, got["time"].(string))
		if err != nil || !at.Equal(shelf.at[0]) || at.Location() != time.UTC {
			t.Errorf("time %v (%v), want %v", at, err, shelf.at[0])
		}
		if fmt.Sprint(got["thermal"], got["disk"]) != "map[cpu:42.5] map[free_bytes:12]" || len(got) != 3 {
			t.Errorf("body %s", body)
		}
		if strings.Contains(log, "hwmon") || !strings.Contains(log, "sdb is broken") || !strings.Contains(log, "NaN") {
			t.Errorf("absent and broken are not told apart:\n%s", log)
		}
	})
}

func TestFault29FullDiskIsToldOnceAndCountedAndTheLoopGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		shelf.refuse(fault.AskOperator(syscall.ENOSPC, "free some space"))
		s := &Sampler{Spool: shelf, Sources: []Source{warm}, Every: time.Second}
		log, _ := sampling(t, s, func() {
			time.Sleep(4500 * time.Millisecond)
			shelf.refuse(nil)
			time.Sleep(3 * time.Second)
		})
		if got := s.Samples(); got.Refused != 5 || got.Taken != 3 || len(shelf.bodies) != 3 {
			t.Errorf("counted %+v, stored %d", got, len(shelf.bodies))
		}
		if strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "free some space") || strings.Count(log, "takes samples again") != 1 {
			t.Errorf("not one line for each change:\n%s", log)
		}
	})
}

func TestSpoolPastHelpEndsTheSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		shelf.refuse(fault.As(fault.Fatal, errors.New("sync: input/output error")))
		s := &Sampler{Spool: shelf, Sources: []Source{warm}, Log: slog.New(slog.DiscardHandler)}
		if err := s.Run(t.Context()); fault.Of(err) != fault.Fatal {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestFault46HangingSourceIsCutOffAndHidesNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		hang := fake{"hwmon", func(ctx context.Context) (map[string]any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		s := &Sampler{Spool: shelf, Sources: []Source{hang, warm}, Timeout: 2 * time.Second}
		log, _ := sampling(t, s, func() { time.Sleep(3 * time.Second) })
		if len(shelf.bodies) != 1 || !strings.Contains(shelf.bodies[0], "thermal") || !strings.Contains(log, "deadline") {
			t.Errorf("stored %v, logged\n%s", shelf.bodies, log)
		}
	})
}

func TestMachineWithNothingToSayTakesNoSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		s := &Sampler{Spool: shelf, Sources: []Source{always("hwmon", nil, ErrNoData)}}
		log, _ := sampling(t, s, func() { time.Sleep(2 * time.Minute) })
		if len(shelf.bodies) != 0 || s.Samples().Taken != 0 || log != "" {
			t.Errorf("stored %v, logged %s", shelf.bodies, log)
		}
	})
}

func TestFault46SourceThatComesAndGoesIsToldOnceEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		flaky := fake{"thermal", func(context.Context) (map[string]any, error) {
			n++
			if n >= 3 && n <= 5 {
				return nil, errors.New("input/output error")
			}
			return map[string]any{"cpu": 1}, nil
		}}
		s := &Sampler{Spool: &shelf{}, Sources: []Source{flaky}, Every: time.Second}
		log, _ := sampling(t, s, func() { time.Sleep(9500 * time.Millisecond) })
		if strings.Count(log, "level=WARN") != 1 || strings.Count(log, "answers again") != 1 {
			t.Errorf("logged\n%s", log)
		}
	})
}
