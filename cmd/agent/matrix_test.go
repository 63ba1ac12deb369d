package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// The cut matrix: a device with short certificates lives through its first boot, readings and two renewals. The power
// fails once, at each step in turn; it returns, and after an hour the audit must hold.

// tempers are the clouds that the matrix is played under.
var tempers = map[string]sim.Temper{
	"calm": {Latency: 20 * time.Millisecond, IssueDelay: time.Second},
	lanes:  {Latency: 20 * time.Millisecond, IssueDelay: time.Second, LostAck: 5},
	"lossy": {Latency: 80 * time.Millisecond, IssueDelay: 5 * time.Second, Assigning: 10 * time.Second, Swapped: true,
		Throttle: 1, Broken: 1, LostAck: 5, DropSession: 7, LostResult: 1, RefuseConnect: 1},
	"old dies at issue":   {Latency: 20 * time.Millisecond, IssueDelay: time.Second, OldCert: sim.OldCertDiesAtIssue},
	"old dies at connect": {Latency: 20 * time.Millisecond, OldCert: sim.OldCertDiesAtConnect, RefuseInHandshake: true, TLS12Only: true},
}

// lanes is a life without renewals, in which streams with lanes of their own take part: one whose readings go first and in packs,
// and one whose readings are in memory for up to half a minute.
const lanes = "lanes"

var lanesOwn = map[string]streamConfig{
	laneAlarms: {Priority: "high", Batch: batchConfig{Bytes: 4 << 10, Age: 3 * time.Second}},
	laneFast:   {keepConfig: keepConfig{Within: 30 * time.Second}},
}

// firstLife is what the device lives through before the power is cut, at the latest.
func firstLife(g *gateway, b *boot) {
	b.take()
	if g.config.Telemetry.Streams != nil {
		time.Sleep(time.Minute)
		g.cloud.Disconnect(gatewayID) // what is in memory alone has its hour
		b.take()
		time.Sleep(time.Minute)
		return
	}
	for end := time.Now().Add(2 * time.Hour); g.generation() < 3 && time.Now().Before(end); {
		select {
		case <-b.done:
			return
		case <-time.After(8 * time.Minute):
			b.take()
		}
	}
	time.Sleep(time.Minute)
}

// cut plays one field of the matrix and returns what the audit found, and how many steps the first life had.
func cut(t *testing.T, name string, p *power, plant planted) (wrong []string, steps []string) {
	t.Helper()
	inBubble(t, tempers[name], func(g *gateway) {
		if name == lanes {
			g.config.Telemetry.Streams = lanesOwn
		}
		b := g.start(p, plant)
		firstLife(g, b)
		if err := b.off(); err != nil {
			g.t.Errorf("the first life ended: %v", err)
		}
		if p.cutAt == 0 && g.generation() < 3 && name != lanes {
			g.t.Fatalf("two renewals did not happen")
		}
		second := g.start(&power{}, plant)
		second.take()
		time.Sleep(time.Hour)
		// A hub that drops sessions for sport may have dropped this one a moment ago.
		for end := time.Now().Add(10 * time.Minute); ; time.Sleep(time.Second) {
			if wrong = g.audit(); second.agent != nil && second.waiting() > 0 {
				wrong = append(wrong, fmt.Sprintf("%d readings wait", second.waiting()))
			}
			if len(wrong) == 0 || time.Now().After(end) {
				break
			}
		}
		if err := second.off(); err != nil {
			wrong = append(wrong, fmt.Sprintf("the agent ended: %v", err))
		}
		if len(wrong) > 0 && plant == nil {
			t.Log(g.story())
		}
	})
	return wrong, p.steps
}

func TestTheCutMatrix(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(tempers)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrong, steps := cut(t, name, &power{}, nil)
			if len(wrong) > 0 {
				t.Fatalf("without any cut: %v", wrong)
			}
			for _, verb := range []string{"write", "wrote", "rename", "renamed", "sync", "synced", "create", "created", "delete", "deleted",
				"issue", "issued", "connect", "connected", "publish", "published", "append", "written", "appended", "ack", "acked"} {
				if name == lanes && strings.HasPrefix(verb, "delete") {
					continue // of keys, which come with renewals
				}
				if !slices.ContainsFunc(steps, func(s string) bool { return strings.Fields(s)[0] == verb }) {
					t.Errorf("the life has no step %q", verb)
				}
			}
			t.Logf("%d steps", len(steps))
			var found []string
			for n := 1; n <= len(steps); n++ {
				for _, tear := range tears(steps[n-1]) {
					wrong, took := cut(t, name, &power{cutAt: n, tear: tear}, nil)
					for _, w := range wrong {
						found = append(found, fmt.Sprintf("cut at step %d (%s, torn %v): %.300s", n, took[min(n, len(took))-1], tear, w))
					}
				}
			}
			if len(found) > 0 { // the last words of the test, and few of them
				t.Errorf("%d findings:\n%s", len(found), strings.Join(found[:min(len(found), 10)], "\n"))
			}
		})
	}
}

// tears says which media a cut at this step may leave: the one that kept what was written, and, where nothing was
// synced yet, the one that did not.
func tears(step string) []bool {
	switch strings.Fields(step)[0] {
	case "wrote", "written", "renamed", "sync":
		return []bool{false, true}
	}
	return []bool{false}
}

// planted spoils a device before it lives.
type planted func(*gateway, *device)

// caught looks for one cut after which the audit finds the planted mistake.
func caught(t *testing.T, name string, supply func(n int) *power, plant planted) {
	t.Helper()
	_, steps := cut(t, name, supply(0), plant)
	for n := 1; n <= len(steps); n++ {
		if wrong, took := cut(t, name, supply(n), plant); len(wrong) > 0 {
			t.Logf("caught by the cut at step %d (%s): %s", n, took[min(n, len(took))-1], wrong[0])
			return
		}
	}
	t.Error("no cut of the matrix shows the mistake: the matrix proves nothing")
}

// forgetful acknowledges what it hands out.
type forgetful struct{ telemetry.Queue }

func (f forgetful) After(seq uint64, n, bytes int) []spool.Record {
	batch := f.Queue.After(seq, n, bytes)
	if len(batch) > 0 {
		_ = f.Ack(batch[len(batch)-1].Seq)
	}
	return batch
}

func TestTheMatrixCatchesAnAcknowledgementBeforeTheSend(t *testing.T) {
	caught(t, "calm", func(n int) *power { return &power{cutAt: n} }, func(_ *gateway, d *device) {
		d.pump.Lanes[0].Queue = forgetful{d.pump.Lanes[0].Queue}
	})
}

func TestTheMatrixCatchesADeleteBeforeTheCommit(t *testing.T) {
	caught(t, "calm", func(n int) *power { return &power{cutAt: n} }, func(g *gateway, d *device) {
		prove := d.renewer.Prove
		d.renewer.Prove = func(ctx context.Context, id *identity.Identity) error {
			err := prove(ctx, id)
			if old := d.identities.Current(); err == nil && old != nil {
				return g.keys.Delete(ctx, old.Key)
			}
			return err
		}
	})
}

func TestTheMatrixCatchesTwoWritesInsteadOfOneRename(t *testing.T) {
	inPlace := func(verb, path string) {
		if verb != "rename" || filepath.Base(path) != "current.json" {
			return
		}
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "pending.json")); err == nil {
			_ = os.WriteFile(path, b[:len(b)/2], 0o600) // the cut falls into the first of the two writes
		}
	}
	caught(t, "calm", func(n int) *power { return &power{cutAt: n, spoil: inPlace} }, nil)
}
