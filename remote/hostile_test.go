package remote_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/remote"
	"github.com/devid-agent/devid-agent/sim"
)

// cutting makes log.level "island" a setting with which the device does not reach the hub.
func (w *world) cutting() {
	inner := w.config.Settings[1].Apply
	w.config.Settings[1].Apply = func(value any) error {
		w.cloud.SetTemper(sim.Temper{Offline: value == "island"})
		return inner(value)
	}
}

func TestSettingsThatCutTheDeviceOffAreTakenBackAndTriedThreeTimes(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.cutting()
		w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		time.Sleep(2 * time.Minute)
		w.desire(`{"devid-agent":{"log":{"level":"island"}}}`)
		w.wantInForce("log.level", "island")
		time.Sleep(2 * time.Hour)
		w.wantInForce("log.level", "warn")
		w.wantReported(`{"applied":false,"errors":["the hub was not reached within 15m0s of applying this, 3 times"],"version":3}`)
		if got, want := strings.Join(w.applied, " "), "log.level=warn"+strings.Repeat(" log.level=island log.level=warn", 3); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		w.desire(`{"other":1}`) // another version, the same settings
		w.wantInForce("log.level", "warn")
		w.desire(`{"devid-agent":{"log":{"level":"info"}}}`)
		w.wantInForce("log.level", "info")
		w.wantReported(`{"applied":true,"version":5}`)
	})
}

func TestAnOutageDoesNotCondemnTheSettingsThatCameBeforeIt(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		inner := w.config.Settings[1].Apply
		first := true
		w.config.Settings[1].Apply = func(value any) error {
			if value == "debug" && first {
				first = false
				w.cloud.SetTemper(sim.Temper{Offline: true}) // it happens to happen
			}
			return inner(value)
		}
		l := w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"debug"}}}`)
		time.Sleep(time.Hour)
		w.wantInForce("log.level", nil)
		l.end() // and a restart meanwhile
		clear(w.inForce)
		w.begin()
		synctest.Wait()
		w.wantInForce("log.level", "debug")
		time.Sleep(time.Hour)
		w.wantInForce("log.level", nil)
		w.cloud.SetTemper(sim.Temper{})
		time.Sleep(time.Hour)
		w.wantInForce("log.level", "debug")
		w.wantReported(`{"applied":true,"version":2}`)
	})
}

func TestSettingsThatWereTakenBackAndAreNoLongerWantedAreNotTriedAtTheNextStart(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.cutting()
		l := w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		time.Sleep(2 * time.Minute)
		w.desire(`{"devid-agent":{"log":{"level":"island"}}}`)
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`) // nobody hears of it yet
		time.Sleep(time.Hour)
		w.wantReported(`{"applied":true,"version":4}`)
		l.end()
		w.begin()
		synctest.Wait()
		w.wantInForce("log.level", "warn")
		if n := strings.Count(strings.Join(w.applied, " "), "island"); n != 1 {
			t.Errorf("tried %d times", n)
		}
	})
}

// A twin has no dots in its names: one that does would stand for a path that the file allows.
func TestWhatNoTwinHasIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 9000) + `1` + strings.Repeat(`}`, 9000)
	wide := `{"a":` + strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000) + `}`
	for _, section := range []string{`{"telemetry":{"streams":{"vibration.other":{"ttl":"1h"}}}}`, `{"telemetry.streams.vibration":{"ttl":"1h"}}`,
		`{"telemetry":{"streams":{"vibration":` + deep + `}}}`, `{"telemetry":{"streams":{"vibration":` + wide + `}}}`} {
		inWorld(t, sim.Temper{}, func(w *world) {
			w.config.Change = []string{"telemetry.streams.vibration"}
			l := w.begin()
			settle()
			l.Desired(2, []byte(`{"devid-agent":`+section+`,"$version":2}`))
			synctest.Wait()
			if len(w.applied) > 0 {
				t.Errorf("applied %.100s", w.applied)
			}
			w.wantReported(`{"applied":false,"errors":["a name with a dot, or more than ten levels: no twin has that"],"version":2}`)
		})
	}
}

func TestPatchesInAnyOrderEndInWhatTheTwinSays(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		for v, level := range []string{2: "debug", 3: "info", 4: "warn"} {
			if level != "" {
				w.desire(fmt.Sprintf(`{"devid-agent":{"log":{"level":%q}}}`, level))
			}
			l.Desired(int64(v), []byte(`{"devid-agent":{"log":{"level":"late"}}}`)) // a repeat of an old one
		}
		synctest.Wait()
		w.wantInForce("log.level", "warn")
		for _, lie := range []string{`{"devid-agent":{"log":{"level":"lie"}}}`, `[]`, `{`, ``, `null`, strings.Repeat("[", 1<<20)} {
			l.Desired(100, []byte(lie)) // one before it was missed: the twin is asked
			synctest.Wait()
			w.wantInForce("log.level", "warn")
			l.Desired(5, []byte(lie)) // the next one
			settle()
		}
		w.cloud.Disconnect(device)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.wantInForce("log.level", "warn")
		w.wantReported(`{"applied":true,"version":4}`)
	})
}

// Each change costs flash, and perhaps a session.
func TestAStormOfChangesIsFollowedInPeaceAndEndsInTheLast(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.begin()
		settle()
		for n := range 3600 {
			if _, err := w.cloud.SetDesired(device, fmt.Appendf(nil, `{"devid-agent":{"telemetry":{"sensors":{"interval":"%ds"}}}}`, n+1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := len(w.applied); n < 20 || n > 40 {
			t.Errorf("%d changes in an hour, %d writes", n, w.medium.writes)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.wantInForce("telemetry.sensors.interval", "3600s")
		w.wantReported(`{"applied":true,"version":3601}`)
	})
}

func TestAReportThatTheHubDoesNotTakeIsToldWithTheNextOne(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		var mended atomic.Bool
		w.config.Status = func() remote.Status {
			if mended.Load() {
				return remote.Status{Grade: "pkcs11"}
			}
			return remote.Status{Grade: "tpm"}
		}
		w.cloud.SetTemper(sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
			if p == sim.AtTwin && !mended.Load() && n > 1 {
				return &sim.Refusal{Code: 400004}
			}
			return nil
		}})
		w.begin()
		settle()
		if got := string(w.cloud.Reported(device)); got != `{}` {
			t.Fatal(got)
		}
		tried := w.cloud.Count(device, sim.Reported)
		time.Sleep(2 * time.Hour)
		mended.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		w.wantReported(`{"applied":true,"version":1}`)
		if n := w.cloud.Count(device, sim.Reported) - tried; n != 1 {
			t.Errorf("%d reports", n)
		}
	})
}

func TestAPayloadThatIsNoJSONReachesNoProgram(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		got := l.asking(l.Handler(), w.Context(), "/v1/methods/valve/next?wait=1m")
		synctest.Wait()
		for _, payload := range []string{"open", "{", strings.Repeat("[", 100<<10), "\xff"} {
			if status, body := l.Method(w.Context(), "valve", []byte(payload)); status != 400 {
				t.Errorf("%.10q: %d %s", payload, status, body)
			}
		}
		if status, _ := l.Method(w.Context(), "valve", make([]byte, 1<<20)); status != 413 {
			t.Errorf("1 MB: %d", status)
		}
		if r := <-got; r.Code != 204 {
			t.Errorf("the program got %d %s", r.Code, r.Body)
		}
	})
}
