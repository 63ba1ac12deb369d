package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// series is a source that reads as one number after the other, and then as the last for ever.
func series(name string, numbers ...float64) Source {
	n := -1
	return fake{name, func(context.Context) (map[string]any, error) {
		n = min(n+1, len(numbers)-1)
		return map[string]any{"v": numbers[n]}, nil
	}}
}

// told is the value at this path in each body that has it.
func told(t *testing.T, bodies []string, path ...string) (values []any) {
	t.Helper()
	for _, body := range bodies {
		_, text, _ := strings.Cut(body, " ")
		var at any
		if err := json.Unmarshal([]byte(text), &at); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, name := range path {
			m, _ := at.(map[string]any)
			at = m[name]
		}
		if at != nil {
			values = append(values, at)
		}
	}
	return values
}

// stopAfter has nothing to say after n reads.
func stopAfter(source Source, n int) Source {
	return fake{source.Name(), func(ctx context.Context) (map[string]any, error) {
		if n--; n < 0 {
			return nil, ErrNoData
		}
		return source.Read(ctx)
	}}
}

func TestOnlyWhatHasMovedIsReportedAndAllAtTheHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf, n := &shelf{}, 0
		rooms := fake{"room", func(context.Context) (map[string]any, error) {
			n++
			hall := []float64{20, 20.4, 20.6, 20.7, 21.2, 21.2, 21.2}[min(n-1, 6)]
			return map[string]any{"hall": map[string]any{"celsius": hall}, "cellar": map[string]any{"celsius": 12.0, "label": "deep"}}, nil
		}}
		s := &Sampler{Spool: shelf, Probes: []Probe{{Source: rooms, Every: time.Minute, Deadband: 0.5, Heartbeat: 6 * time.Minute}}}
		sampling(t, s, func() { time.Sleep(6*time.Minute + time.Second) })
		if got := fmt.Sprint(told(t, shelf.bodies, "room", "hall", "celsius")); got != "[20 20.6 21.2 21.2]" {
			t.Errorf("the hall was told as %s", got)
		}
		if got := fmt.Sprint(told(t, shelf.bodies, "room", "cellar")); got != "[map[celsius:12 label:deep] map[celsius:12 label:deep]]" {
			t.Errorf("the cellar, which never moves, was told as %s", got)
		}
		if len(shelf.bodies) != 4 || !shelf.at[3].Equal(shelf.at[0].Add(6*time.Minute)) {
			t.Errorf("%d readings, the last at %v", len(shelf.bodies), shelf.at)
		}
	})
}

func TestWhatTheSpoolRefusedIsNotTakenForReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		shelf.refuse(errors.New("full"))
		s := &Sampler{Spool: shelf, Probes: []Probe{{Source: warm, Every: time.Minute, Deadband: 1}}}
		sampling(t, s, func() {
			time.Sleep(90 * time.Second)
			shelf.refuse(nil)
			time.Sleep(3 * time.Minute)
		})
		if len(shelf.bodies) != 1 {
			t.Errorf("after the refusals %d readings, want the one that was never stored", len(shelf.bodies))
		}
	})
}

func TestProbesShareWakeUpsAndReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf, start := &shelf{}, time.Now()
		wakes := map[time.Duration]bool{}
		at := func(name string) Source {
			return fake{name, func(context.Context) (map[string]any, error) {
				wakes[time.Since(start)] = true
				return map[string]any{"v": 1}, nil
			}}
		}
		s := &Sampler{Spool: shelf, Log: slog.New(slog.DiscardHandler)}
		for i, every := range []time.Duration{time.Second, 1100 * time.Millisecond, 1300 * time.Millisecond, 1700 * time.Millisecond, 7 * time.Second} {
			s.Probes = append(s.Probes, Probe{Source: serial(at(fmt.Sprint("p", i))), Every: every})
		}
		sampling(t, s, func() { time.Sleep(59500 * time.Millisecond) })
		if len(wakes) != 60 || len(shelf.bodies) != 60 {
			t.Errorf("five probes in a minute: %d wake-ups and %d readings", len(wakes), len(shelf.bodies))
		}
		if got := len(told(t, shelf.bodies, "p4")); got != 9 {
			t.Errorf("the probe of 7 s reported %d times in a minute", got)
		}
	})
}

var turn = make(chan struct{}, 1)

// serial keeps sources from writing into the test's map side by side.
func serial(source Source) Source {
	return fake{source.Name(), func(ctx context.Context) (map[string]any, error) {
		turn <- struct{}{}
		defer func() { <-turn }()
		return source.Read(ctx)
	}}
}

func TestEachStreamHasItsOwnReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		s := &Sampler{Spool: shelf, Sources: []Source{warm}, Probes: []Probe{
			{Source: warm, Name: "oven", Stream: "heat"}, {Source: warm, Name: "ice", Stream: "heat"}, {Source: warm},
		}}
		sampling(t, s, synctest.Wait)
		slices.Sort(shelf.bodies)
		var got []string
		for _, body := range shelf.bodies {
			stream, text, _ := strings.Cut(body, " ")
			got = append(got, stream+text[strings.Index(text, ","):])
		}
		want := []string{`heat,"oven":{"cpu":42.5},"ice":{"cpu":42.5}}`, `machine,"thermal":{"cpu":42.5}}`, `machine,"thermal":{"cpu":42.5}}`}
		if !slices.Equal(got, want) {
			t.Errorf("readings %q, want %q", got, want)
		}
	})
}

func TestFault46SlowSensorHoldsUpNoOtherAndReportsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf, start := &shelf{}, time.Now()
		slow := fake{"w1", func(context.Context) (map[string]any, error) {
			time.Sleep(3 * time.Second)
			return map[string]any{"celsius": 7}, nil
		}}
		s := &Sampler{Spool: shelf, Probes: []Probe{{Source: warm, Every: 2 * time.Second}, {Source: slow, Every: 10 * time.Second}}}
		log, _ := sampling(t, s, func() { time.Sleep(9 * time.Second) })
		var at []string
		for i, body := range shelf.bodies {
			at = append(at, fmt.Sprint(shelf.at[i].Sub(start), strings.Contains(body, "w1"), strings.Contains(body, "thermal")))
		}
		// The first reading waits a second for the slow one.
		want := []string{"1s false true", "2s false true", "3s true false", "4s false true", "6s false true", "8s false true"}
		if !slices.Equal(at, want) || log != "" {
			t.Errorf("readings %v, want %v; log %s", at, want, log)
		}
	})
}

func TestFault46ReadThatNeverEndsIsToldOnceAndHoldsOneReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf, release := &shelf{}, make(chan struct{})
		var asked atomic.Int32
		stuck := fake{"hwmon", func(context.Context) (map[string]any, error) { // a driver in uninterruptible sleep
			asked.Add(1)
			<-release
			return map[string]any{"fan": 1}, nil
		}}
		s := &Sampler{Spool: shelf, Probes: []Probe{{Source: stuck, Every: time.Second}, {Source: warm, Every: time.Second}}}
		log, _ := sampling(t, s, func() {
			time.Sleep(time.Minute + 500*time.Millisecond)
			synctest.Wait()
			if asked.Load() != 1 {
				t.Errorf("%d readers hang in it", asked.Load())
			}
			if n := len(told(t, shelf.bodies, "thermal")); n != 61 {
				t.Errorf("%d readings of the sound sensor in a minute", n)
			}
			close(release)
			time.Sleep(time.Second)
		})
		if strings.Count(log, "the read hangs") != 1 || strings.Count(log, "answers again") != 1 {
			t.Errorf("logged\n%s", log)
		}
		if len(told(t, shelf.bodies, "hwmon")) == 0 {
			t.Error("the sensor that came back is not read any more")
		}
	})
}

// slowShelf takes a long time for each commit.
type slowShelf struct {
	shelf
	commits int
}

func (s *slowShelf) Put(ctx context.Context, readings ...spool.Reading) (uint64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(10300 * time.Millisecond):
	}
	s.commits++
	return s.shelf.Put(ctx, readings...)
}

func TestFlashThatStallsHoldsUpNoSensor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowShelf{}
		s := &Sampler{Spool: slow, Probes: []Probe{{Source: warm, Every: time.Second}}}
		sampling(t, s, func() { time.Sleep(32 * time.Second) })
		// 0 s, 1 … 10 s, 11 … 20 s
		if n := len(slow.bodies); n != 21 || slow.commits != 3 {
			t.Errorf("%d readings in %d commits", n, slow.commits)
		}
	})
}

func TestChangeTakesEffectAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		s := &Sampler{Spool: shelf, Sources: []Source{warm}, Every: time.Hour}
		sampling(t, s, func() {
			synctest.Wait()
			s.Change([]Probe{{Source: warm, Stream: "heat", Every: time.Second}})
			time.Sleep(9500 * time.Millisecond)
		})
		if len(shelf.bodies) != 11 || !strings.HasPrefix(shelf.bodies[1], "heat ") {
			t.Errorf("readings %q", shelf.bodies)
		}
	})
}

func TestRunWaitsForReadsThatEndWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		killed := fake{"exec", func(ctx context.Context) (map[string]any, error) {
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond) // the processes die
			ended = true
			return nil, ctx.Err()
		}}
		sampling(t, &Sampler{Spool: &shelf{}, Sources: []Source{killed}}, synctest.Wait)
		if !ended {
			t.Error("Run returned before the read had")
		}
	})
}
