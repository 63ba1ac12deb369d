package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// put takes n readings of a stream in.
func (b *boot) put(stream string, n int) {
	b.g.t.Helper()
	for i := range n {
		if _, err := b.intake.Append(b.g.t.Context(), stream, fmt.Appendf(nil, `{"n":%d}`, i+1)); err != nil {
			b.g.t.Fatal(err)
		}
	}
}

// arrived are the messages of a stream that the hub has, in the order of their first arrival: a message may come again.
func (g *gateway) arrived(stream string) (bodies []string) {
	known := map[string]bool{}
	for _, m := range g.cloud.Received(gatewayID) {
		if m.Properties["stream"] == stream && !known[m.Properties["$.mid"]] {
			known[m.Properties["$.mid"]] = true
			bodies = append(bodies, string(m.Body))
		}
	}
	return bodies
}

// numbered are the bodies of n readings that put has taken in.
func numbered(n int) (bodies []string) {
	for i := range n {
		bodies = append(bodies, fmt.Sprintf(`{"n":%d}`, i+1))
	}
	return bodies
}

// overtaken is how many messages of the stream low had come when the last of high came for the first time.
func (g *gateway) overtaken(low, high string) (n int) {
	first, lows := map[string]bool{}, 0
	for _, m := range g.cloud.Received(gatewayID) {
		switch {
		case m.Properties["stream"] == low:
			lows++
		case m.Properties["stream"] == high && !first[m.Properties["$.mid"]]:
			first[m.Properties["$.mid"]], n = true, lows
		}
	}
	return n
}

func TestAnAlarmOvertakesTheBacklogOfTheOtherStreams(t *testing.T) {
	const backlog, alarms = 400, 5
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		g.config.Telemetry.Streams = map[string]streamConfig{"doors": {Priority: "high"}}
		b := g.start(&power{}, nil)
		g.until("the device is online", time.Hour, func() bool { return g.cloud.Online(gatewayID) })
		g.cloud.SetTemper(sim.Temper{Offline: true})
		g.cloud.Disconnect(gatewayID)
		time.Sleep(time.Minute)
		b.put("hall", backlog)
		b.put("doors", alarms)
		g.cloud.SetTemper(sim.Temper{Latency: 20 * time.Millisecond})
		g.until("all arrives", time.Hour, func() bool { return b.waiting() == 0 })
		g.end(b)
		if got := g.arrived("doors"); !slices.Equal(got, numbered(alarms)) {
			t.Errorf("of the alarms arrived %v", got)
		}
		if got := g.arrived("hall"); !slices.Equal(got, numbered(backlog)) {
			t.Errorf("the backlog arrived out of order: %v", got)
		}
		if n := g.overtaken("hall", "doors"); n > 2*alarms { // those below get one message of eight
			t.Errorf("the last alarm came behind %d other messages", n)
		}
	})
}

func TestAStreamWhoseSectionIsGoneIsStillDrained(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond, Offline: true}, func(g *gateway) {
		g.config.Telemetry.Streams = map[string]streamConfig{"hall": {Priority: "high"}}
		b := g.start(&power{}, nil)
		b.put("hall", 10)
		g.end(b)
		g.config.Telemetry.Streams = nil
		b = g.start(&power{}, nil)
		if s := b.board.now(); s.Streams["hall"].Depth != 10 {
			t.Errorf("the status does not show what waits: %+v", s.Streams)
		}
		g.cloud.SetTemper(sim.Temper{Latency: 20 * time.Millisecond})
		g.until("what waited arrives", time.Hour, func() bool { return len(g.arrived("hall")) == 10 })
		b.put("hall", 1) // it has no lane any more, and comes by the usual one
		g.until("what is new arrives", time.Hour, func() bool { return len(g.arrived("hall")) == 11 })
		time.Sleep(time.Minute)
		g.end(b)
		if got := g.arrived("hall"); !slices.Equal(got[:10], numbered(10)) {
			t.Errorf("arrived %v", got)
		}
		b = g.start(&power{}, nil)
		if s := b.board.now(); len(s.Streams) != 0 || s.Spool.Depth != 0 {
			t.Errorf("a drained stream without a section is opened again: %+v", s.Streams)
		}
		time.Sleep(time.Minute)
		g.end(b)
		if n := len(g.arrived("hall")); n != 11 {
			t.Errorf("%d arrived in all", n)
		}
	})
}

func TestReadingsWithinASpanCostTheFlashNothingWhileTheHubTakesThem(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		g.config.Telemetry.Streams = map[string]streamConfig{"fast": {keepConfig: keepConfig{Within: 30 * time.Second}}}
		var mu sync.Mutex
		var steps []string
		watch := func(verb, path string) { // how far the hub has acknowledged is noted now and then, in the cursor
			if strings.Contains(path, filepath.Join("streams", "fast")) && filepath.Base(path) != "cursor" {
				mu.Lock()
				defer mu.Unlock()
				steps = append(steps, verb+" "+filepath.Base(path))
			}
		}
		wrote := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(steps)
		}
		b := g.start(&power{spoil: watch}, nil)
		g.until("the device is online", time.Hour, func() bool { return g.cloud.Online(gatewayID) })
		opened := wrote()
		for range 100 {
			b.put("fast", 1)
			time.Sleep(time.Second)
		}
		if n := wrote() - opened; n != 0 || len(g.arrived("fast")) != 100 {
			t.Errorf("%d readings arrived, with %d writes: %v", len(g.arrived("fast")), n, steps)
		}
		g.cloud.SetTemper(sim.Temper{Offline: true})
		g.cloud.Disconnect(gatewayID)
		time.Sleep(10 * time.Second)
		b.put("fast", 3)
		if s := b.board.now().Streams["fast"]; s.InMemory != 3 || s.Depth != 3 {
			t.Errorf("the status shows %+v", s)
		}
		before := wrote()
		g.end(b)
		if wrote() == before {
			t.Error("the end of the agent did not write what was in memory")
		}
		g.cloud.SetTemper(sim.Temper{Latency: 20 * time.Millisecond})
		b = g.start(&power{}, nil)
		g.until("what was in memory arrives", time.Hour, func() bool { return len(g.arrived("fast")) >= 103 })
		g.end(b)
	})
}

func TestAPackArrivesAsAnArrayOfNumberedReadings(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		g.config.Telemetry.Streams = map[string]streamConfig{"vibration": {Batch: batchConfig{Bytes: 4 << 10, Age: 10 * time.Second, Format: "json"}}}
		b := g.start(&power{}, nil)
		g.until("the device is online", time.Hour, func() bool { return g.cloud.Online(gatewayID) })
		b.put("vibration", 200)
		time.Sleep(time.Minute)
		g.end(b)
		got, packs := map[uint64]string{}, 0
		for _, m := range g.cloud.Received(gatewayID) {
			if packs++; m.Body[0] != '[' || len(m.Body) > 4<<10 {
				t.Errorf("%d bytes: %s", len(m.Body), m.Body)
			}
			unpack(m, got)
		}
		for i, body := range numbered(200) {
			if got[uint64(i+1)] != body {
				t.Fatalf("reading %s came as %q", body, got[uint64(i+1)])
			}
		}
		if packs > 10 {
			t.Errorf("200 readings in %d messages", packs)
		}
	})
}
