package remote_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/remote"
	"github.com/devid-agent/devid-agent/sim"
)

func TestDesiredSettingsArePutInForceAndReported(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.desire(`{"devid-agent":{"telemetry":{"sensors":{"interval":"30s"}}},"other":{"x":1}}`)
		w.begin()
		settle()
		w.wantInForce("telemetry.sensors.interval", "30s")
		w.wantReported(`{"applied":true,"version":2}`)

		w.desire(`{"devid-agent":{"log":{"level":"debug"}}}`)
		w.wantInForce("log.level", "debug")
		w.wantReported(`{"applied":true,"version":3}`)

		w.desire(`{"devid-agent":{"telemetry":null}}`)
		w.wantInForce("telemetry.sensors.interval", nil)
		w.wantInForce("log.level", "debug")

		w.desire(`{"devid-agent":null}`)
		w.wantInForce("log.level", nil)
		w.wantReported(`{"applied":true,"version":5}`)
		if got := strings.Join(w.applied, " "); got != "telemetry.sensors.interval=30s log.level=debug telemetry.sensors.interval=<nil> log.level=<nil>" {
			t.Error("applied more than what changed:", got)
		}
	})
}

func TestFault47BadSettingsChangeNothingAndSayWhy(t *testing.T) {
	for set, want := range map[string]string{
		`{"telemetry":{"sensors":{"interval":"fast"}},"log":{"level":"warn"}}`: `["telemetry.sensors.interval: \"fast\" is no time: write 30s"]`,
		`{"hub":{"host":"evil.example"},"log":{"level":"warn"}}`:               `["hub.host: cannot be changed while the agent runs"]`,
		`{"telemetry":{"sensors":{"interval":"explodes"}}}`:                    `["telemetry.sensors.interval: applying it panics: as it says"]`,
		`{"telemetry":{"sensors":{"interval":"1s"}},"log":{"level":"sticks"}}`: `["log.level: it sticks"]`,
	} {
		inWorld(t, sim.Temper{}, func(w *world) {
			w.begin()
			settle()
			w.desire(`{"devid-agent":{"telemetry":{"sensors":{"interval":"30s"}},"log":{"level":"info"}}}`)
			w.desire(`{"devid-agent":` + set + `}`)
			w.wantInForce("telemetry.sensors.interval", "30s")
			w.wantInForce("log.level", "info")
			w.wantReported(`{"applied":false,"errors":` + want + `,"version":3}`)

			w.desire(`{"devid-agent":{"telemetry":{"sensors":{"interval":"10s"}},"log":{"level":"error"},"hub":null}}`)
			w.wantInForce("telemetry.sensors.interval", "10s")
			w.wantReported(`{"applied":true,"version":4}`)
		})
	}
}

func TestWhatTheFileDoesNotAllowIsNotChanged(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.Change = []string{"telemetry.streams.vibration", "log"}
		w.begin()
		settle()
		w.desire(`{"devid-agent":{"telemetry":{"streams":{"vibration":{"ttl":"1h"},"vibrations":{"ttl":"1h"}}}}}`)
		w.wantReported(`{"applied":false,"errors":["telemetry.streams.vibrations.ttl: remote.change does not allow it"],"version":2}`)
		w.desire(`{"devid-agent":{"telemetry":{"streams":{"vibrations":null}},"log":{"level":"warn"}}}`)
		w.wantReported(`{"applied":true,"version":3}`)
		w.wantInForce("log.level", "warn")
	})
}

func TestBadSettingsAreNotTriedAgainUntilTheirVersionChanges(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		w.desire(`{"devid-agent":{"telemetry":{"sensors":{"interval":"1s"}},"log":{"level":"sticks"}}}`)
		l.end()
		tried := len(w.applied)
		w.begin()
		settle()
		if len(w.applied) != tried {
			t.Errorf("tried again: %v", w.applied)
		}
		w.wantReported(`{"applied":false,"errors":["log.level: it sticks"],"version":2}`)
	})
}

func TestTheLastGoodSettingsHoldFromBootOnWithoutTheHub(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		time.Sleep(2 * time.Minute)
		w.desire(`{"devid-agent":{"log":{"level":"sticks"}}}`)
		l.end()
		clear(w.inForce)
		w.cloud.SetTemper(sim.Temper{Offline: true})
		w.begin()
		synctest.Wait()
		w.wantInForce("log.level", "warn")
	})
}

func TestGoodSettingsThatTheFileNoLongerAllowsAreNotForced(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		time.Sleep(2 * time.Minute)
		l.end()
		clear(w.inForce)
		w.config.Change = nil
		w.begin()
		settle()
		w.wantInForce("log.level", nil)
		w.wantReported(`{"applied":false,"errors":["log.level: remote.change does not allow it"],"version":2}`)
	})
}

// Settings that kill the agent are the worst that a cloud can send to a fleet.
func TestFault49SettingsThatTheAgentDoesNotSurviveAreGivenUp(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		time.Sleep(2 * time.Minute)
		w.desire(`{"devid-agent":{"log":{"level":"deadly"}}}`)
		for range 3 { // the process dies each time within a minute
			w.medium.off = true
			l.end()
			w.medium.off = false
			clear(w.inForce)
			l = w.begin()
			synctest.Wait()
		}
		w.wantInForce("log.level", "warn")
		settle()
		w.wantInForce("log.level", "warn")
		w.wantReported(`{"applied":false,"errors":["the agent has ended 3 times within 1m0s of applying this"],"version":3}`)
		w.desire(`{"other":1}`) // another version, the same settings
		w.wantInForce("log.level", "warn")
		w.desire(`{"devid-agent":{"log":{"level":"info"}}}`)
		w.wantInForce("log.level", "info")
	})
}

func TestFault48OrderlyEndsDoNotCondemnSettings(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		for range 5 {
			l.end()
			clear(w.inForce)
			l = w.begin()
			synctest.Wait()
		}
		w.wantInForce("log.level", "warn")
	})
}

func TestFault31ADamagedFileIsNoReasonToStop(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.medium.files = map[string][]byte{"desired.json": []byte(`{"good":{"ver`)}
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		w.begin()
		settle()
		w.wantInForce("log.level", "warn")
		if string(w.medium.files["desired.json.damaged"]) != `{"good":{"ver` {
			t.Error("what was damaged is gone")
		}
	})
}

func TestFault29AFullDiskDoesNotKeepSettingsOut(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.medium.off = true
		w.begin()
		settle()
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		w.wantInForce("log.level", "warn")
		w.wantReported(`{"applied":true,"version":2}`)
	})
}

func TestChangesMadeWhileTheDeviceWasAwayAreFound(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.begin()
		settle()
		w.cloud.SetTemper(sim.Temper{Offline: true})
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		w.cloud.SetTemper(sim.Temper{})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.wantInForce("log.level", "warn")
		w.wantReported(`{"applied":true,"version":2}`)
	})
}

func TestATwinThatIsMadeAnewCountsThoughItsVersionGoesBack(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.begin()
		settle()
		for range 3 {
			w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		}
		w.wantReported(`{"applied":true,"version":4}`)
		w.cloud.DeleteDevice(device)
		w.cloud.CreateDevice(device, sim.Auth{CA: w.cloud.FactoryCA()})
		w.desire(`{"devid-agent":{"log":{"level":"error"}}}`)
		time.Sleep(time.Hour)
		synctest.Wait()
		w.wantInForce("log.level", "error")
		w.wantReported(`{"applied":true,"version":2}`)
	})
}

func TestFault45AThrottledTwinIsAskedLater(t *testing.T) {
	var at []time.Time
	temper := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
		if p != sim.AtTwin {
			return nil
		}
		at = append(at, time.Now())
		if n <= 4 {
			return &sim.Refusal{Code: 429001}
		}
		return nil
	}}
	inWorld(t, temper, func(w *world) {
		w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
		w.begin()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.wantInForce("log.level", "warn")
		for i := 1; i < 5; i++ {
			if gap := at[i].Sub(at[i-1]); gap < 10*time.Second {
				t.Errorf("try %d came %v after the one before", i+1, gap)
			}
		}
	})
}

// pains-and-numbers.md, 14: a fleet that comes back together must not read its twins together.
func TestTheFirstReadOfATwinIsSpread(t *testing.T) {
	var at []time.Duration
	for range 8 {
		var start, read time.Time
		temper := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
			if p == sim.AtTwin && n == 1 {
				read = time.Now()
			}
			return nil
		}}
		inWorld(t, temper, func(w *world) {
			start = time.Now()
			w.begin()
			settle()
		})
		at = append(at, read.Sub(start).Round(time.Second))
	}
	distinct := map[time.Duration]bool{}
	for _, d := range at {
		distinct[d] = true
		if d < 0 || d > 30*time.Second {
			t.Errorf("read after %v", d)
		}
	}
	if len(distinct) < 3 {
		t.Errorf("all about the same time: %v", at)
	}
}

func FuzzATwinNeverTakesTheAgentDown(f *testing.F) {
	for _, s := range []string{
		`{"desired":{"$version":2,"devid-agent":{"log":{"level":"x"}}},"reported":{"$version":1}}`,
		`{"desired":{"$version":2,"devid-agent":[1]},"reported":{"devid-agent":7}}`,
		`{"desired":{},"reported":{}}`, `[]`, `{"desired":{"$version":"x"}}`, `{"desired":{"$version":1,"devid-agent":{"":{"":1}}}}`,
	} {
		f.Add([]byte(s), []byte(`{"devid-agent":{"log":null},"$version":3}`))
	}
	f.Fuzz(func(t *testing.T, document, patch []byte) {
		remote.Judge(t, document, patch)
	})
}

func TestErrorsOfTheTwinAreLabelled(t *testing.T) {
	if err := remote.ReadTwin([]byte(`{}`)); fault.Of(err) != fault.Permanent {
		t.Error(err)
	}
}

func TestWhatARemovalLeavesBehindIsNoWish(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.Change = []string{"telemetry.streams"}
		w.begin()
		settle()
		w.desire(`{"devid-agent":{"telemetry":{"streams":{"press":{}},"spool":{}},"device":{}}}`)
		if got := fmt.Sprint(w.inForce["telemetry.streams"]); got != "map[press:map[]]" {
			t.Error(got)
		}
		w.desire(`{"devid-agent":{"telemetry":{"streams":null}}}`)
		w.wantReported(`{"applied":true,"version":3}`)
	})
}

func TestSettingsDuringWhoseApplicationTheAgentEndsAreTriedAgain(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.Settings[1].Apply = func(any) error { return fmt.Errorf("the agent ends: %w", context.Canceled) }
		for range 5 {
			l := w.begin()
			settle()
			w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
			l.end()
		}
		w.config.Settings[1] = w.setting("log.level")
		w.begin()
		synctest.Wait()
		w.wantInForce("log.level", "warn")
	})
}

func TestAnAgentThatCannotGoOnCountsAgainstWhatIsOnTrial(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		for n := range 4 {
			clear(w.inForce)
			l := w.begin()
			settle()
			if n == 0 {
				w.desire(`{"devid-agent":{"log":{"level":"warn"}}}`)
			}
			if _, holds := w.inForce["log.level"]; holds != (n < 3) {
				t.Errorf("life %d: in force %v", n, w.inForce)
			}
			l.Failed()
			l.end()
		}
	})
}
