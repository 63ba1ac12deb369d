package telemetry

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// wall is a machine's clock as package time reads it: the time of day, which somebody may set, and a monotonic reading, which
// nobody can, and which stands still while the machine sleeps. A bubble's own time has no such reading.
type wall struct {
	start time.Time
	step  atomic.Int64 // ns
}

func (w *wall) now() time.Time {
	return monotonic(time.Now().Add(time.Duration(w.step.Load())), time.Since(w.start))
}

// monotonic is t with that reading. Package time makes no such Time for others: the layout is that of its type Time.
func monotonic(t time.Time, since time.Duration) time.Time {
	const has = 1 << 63
	seconds := uint64(t.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	made := t
	raw := (*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&made))
	raw.wall, raw.ext = has|seconds<<30|uint64(t.Nanosecond()), int64(since)
	return made
}

func TestTheClockOfTheseTestsIsAsTheKernelsIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wall{start: time.Now()}
		before := w.now()
		time.Sleep(time.Minute)
		w.step.Store(int64(26 * 365 * 24 * time.Hour))
		after := w.now()
		if passed := after.Sub(before); passed != time.Minute {
			t.Errorf("by the monotonic reading %v", passed)
		}
		if passed := after.Round(0).Sub(before.Round(0)); passed != time.Minute+time.Duration(w.step.Load()) {
			t.Errorf("by the time of day %v", passed)
		}
	})
}

func TestFault54ATimeOfDayThatIsSetUpsetsNoInterval(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for name, step := range map[string]time.Duration{
		"NTP after a boot in the past": 26 * year, "NTP after a boot in the future": -10 * year, "sixty days asleep": 60 * 24 * time.Hour,
		"an hour back": -time.Hour, "two seconds": 2 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			shelf, start := &shelf{}, time.Now()
			w := &wall{start: start}
			sensor := Probe{Source: series("a", 1), Every: 10 * time.Second, Deadband: 5, Heartbeat: time.Minute, Stream: "slow"}
			s := &Sampler{Spool: shelf, Sources: []Source{warm}, Every: 10 * time.Second, Probes: []Probe{sensor}, clock: w.now}
			sampling(t, s, func() {
				time.Sleep(25 * time.Second)
				w.step.Store(int64(step))
				time.Sleep(5 * time.Minute)
			})
			var machine, slow []time.Time
			for i, body := range shelf.bodies {
				if body[:4] == "slow" {
					slow = append(slow, shelf.at[i])
				} else {
					machine = append(machine, shelf.at[i])
				}
			}
			for i, at := range machine {
				if want := start.Add(time.Duration(i) * 10 * time.Second); !at.Equal(want) {
					t.Fatalf("%s: sample %d after %v", name, i, at.Sub(start))
				}
			}
			if len(machine) != 33 || len(slow) != 6 {
				t.Errorf("%s: in 325 s %d samples, and %d of what is told once a minute", name, len(machine), len(slow))
			}
			for i, value := range told(t, shelf.bodies, "time") {
				at, _ := time.Parse(time.RFC3339Nano, value.(string))
				want := shelf.at[i]
				if want.Sub(start) > 25*time.Second {
					want = want.Add(step)
				}
				if !at.Equal(want) {
					t.Fatalf("%s: sample %d says %v, the clock said %v", name, i, at, want)
				}
			}
		})
	}
}
