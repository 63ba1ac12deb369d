package remote_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/remote"
	"github.com/devid-agent/devid-agent/sim"
)

func TestOnlyWhatHasChangedIsReported(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		status := remote.Status{Release: "1.2.3", Key: "device-g1", Grade: "tpm", Depth: 1234, More: map[string]any{"a.b c$": "x", "gone": nil}}
		var mu sync.Mutex
		w.config.Status = func() remote.Status {
			mu.Lock()
			defer mu.Unlock()
			return status
		}
		change := func(f func()) {
			mu.Lock()
			defer mu.Unlock()
			f()
		}
		w.begin()
		settle()
		if got := string(w.cloud.Reported(device)); got != `{"devid-agent":{"applied":true,"status":{"a_b_c_":"x","depth":1000,"dropped":0,"hardware":"tpm","key":"device-g1","release":"1.2.3"},"version":1}}` {
			t.Fatal(got)
		}
		reports := func() int { return w.cloud.Count(device, sim.Reported) }
		before := reports()
		change(func() { status.Depth = 1900 }) // the same first digit
		time.Sleep(time.Hour)
		w.cloud.Disconnect(device)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := reports() - before; n != 0 {
			t.Errorf("%d reports of nothing", n)
		}
		change(func() { status.Depth, status.Key = 2001, "" })
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := string(w.cloud.Reported(device)); reports()-before != 1 || !strings.Contains(got, `"depth":2000`) || strings.Contains(got, "device-g1") {
			t.Errorf("%d reports, %s", reports()-before, got)
		}
	})
}

func TestAStatusThatIsTooMuchForATwinIsLeftOut(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		more := map[string]any{}
		for i := range 400 {
			more[fmt.Sprint("k", i)] = strings.Repeat("x", 300)
		}
		w.config.Status = func() remote.Status { return remote.Status{More: more} }
		w.begin()
		settle()
		if got := string(w.cloud.Reported(device)); got != `{"devid-agent":{"applied":true,"version":1}}` {
			t.Errorf("%.200s", got)
		}
	})
}
