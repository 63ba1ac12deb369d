package telemetry

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReportSumsUpTheReadsSinceTheLast(t *testing.T) {
	for keep, want := range map[Keep]string{
		Last: "[4 6]", Mean: "[2.5 5.5]", Min: "[1 5]", Max: "[4 6]",
		Range:     "[map[max:4 mean:2.5 min:1 n:4] map[max:6 mean:5.5 min:5 n:2]]",
		Histogram: "[map[bounds:[2 5] counts:[2 2 0] sum:10] map[bounds:[2 5] counts:[0 1 1] sum:11]]",
	} {
		synctest.Test(t, func(t *testing.T) {
			shelf := &shelf{}
			s := &Sampler{Spool: shelf, Probes: []Probe{{
				Source: series("a", 1, 2, 3, 4, 5, 6), Every: 5 * time.Second, Report: 15 * time.Second, Keep: keep, Bounds: []float64{2, 5},
			}}}
			// The second report is cut short: reads at 20 s and, as the source is asked no more, 25 s.
			s.Probes[0].Source = stopAfter(s.Probes[0].Source, 6)
			sampling(t, s, func() { time.Sleep(31 * time.Second) })
			if got := fmt.Sprint(told(t, shelf.bodies, "a", "v")); got != want {
				t.Errorf("keep %s: %s, want %s", Keeps[keep], got, want)
			}
		})
	}
}

func TestTheUnitOfAProbeStandsBesideItsValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		s := &Sampler{Spool: shelf, Probes: []Probe{{Source: series("boiler", 3), Unit: `"bar" °`}}}
		sampling(t, s, func() { time.Sleep(time.Second) })
		if got := fmt.Sprint(told(t, shelf.bodies, "boiler", "unit")); got != `["bar" °]` {
			t.Errorf("the unit was told as %s", got)
		}
	})
}

func TestTheNameOfAProbeIsTextWhateverIsInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		s := &Sampler{Spool: shelf, Probes: []Probe{{Source: series("boiler", 3), Name: "boiler\a \"ö\""}}}
		sampling(t, s, func() { time.Sleep(time.Second) })
		if got := fmt.Sprint(told(t, shelf.bodies, "boiler\a \"ö\"", "v")); got != `[3]` {
			t.Errorf("told was %s", got)
		}
	})
}

func TestOnlyKeepsWhatItsPatternsName(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"eth0", "eth0", true}, {"eth0", "eth0.rx_bytes", true}, {"eth0", "eth01.rx_bytes", false}, {"eth0", "eth", false},
		{"eth*.rx_bytes", "eth0.100.rx_bytes", true}, {"*.celsius", "cpu.temp1.celsius", true}, {"*.celsius", "cpu.temp1.label", false},
		{"*", "x", true}, {"", "x", false}, {"a*b*c", "a.b.c.d", true}, {"a*b*c", "acb", false},
	} {
		if got := Match(c.pattern, c.path); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.path, got)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		network := always("network", map[string]any{"eth0": map[string]any{"rx": 1, "tx": 2}, "wlan0": map[string]any{"rx": 3}}, nil)
		sampling(t, &Sampler{Spool: shelf, Probes: []Probe{{Source: network, Only: []string{"eth0", "wlan0.tx"}}}}, synctest.Wait)
		if got := fmt.Sprint(told(t, shelf.bodies, "network")); got != "[map[eth0:map[rx:1 tx:2]]]" {
			t.Errorf("kept %s", got)
		}
	})
}

func TestValuesThatAreNoNumbersAreToldAndHideNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		odd := always("odd", map[string]any{"a": math.Inf(1), "b": 2, "c": []any{1}, "d": map[string]any{}}, nil)
		log, _ := sampling(t, &Sampler{Spool: shelf, Probes: []Probe{{Source: odd, Keep: Mean, Every: time.Second}}}, func() { time.Sleep(5 * time.Second) })
		if got := fmt.Sprint(told(t, shelf.bodies[:1], "odd")); got != "[map[b:2 c:[1]]]" {
			t.Errorf("kept %s", got)
		}
		if strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "a: +Inf is no number") {
			t.Errorf("logged\n%s", log)
		}
	})
}

func TestFault46SourceThatFloodsIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf, flood := &shelf{}, map[string]any{}
		for i := range 100_000 {
			flood[fmt.Sprint("v", i)] = i
		}
		log, _ := sampling(t, &Sampler{Spool: shelf, Sources: []Source{always("flood", flood, nil), warm}}, synctest.Wait)
		if n := len(told(t, shelf.bodies, "flood")[0].(map[string]any)); n != leaves || len(log) > 1000 {
			t.Errorf("%d values kept, and a log of %d bytes", n, len(log))
		}
	})
}
