package iothub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// answering lets the cloud ask for everything.
func answering(c *Config) {
	c.Handlers = Handlers{
		Desired: func(int64, []byte) {},
		Method:  func(context.Context, string, []byte) (int, []byte) { return 200, []byte(`{}`) },
		Message: func(context.Context, map[string]string, []byte) error { return nil },
	}
}

func sendAll(t *testing.T, c telemetry.Conn, batch []spool.Record) error {
	t.Helper()
	_, err := sendEach(c, batch)
	return err
}

func (w *world) open() *Conn {
	w.Helper()
	w.conn = w.dial()
	synctest.Wait()
	return w.conn.(*Conn)
}

func TestTheTwinIsReadAndReported(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		if _, err := w.cloud.SetDesired(device, []byte(`{"devid-agent":{"log":{"level":"debug"}}}`)); err != nil {
			t.Fatal(err)
		}
		c := w.open()
		document, err := c.Twin(w.Context())
		if want := `{"desired":{"$version":2,"devid-agent":{"log":{"level":"debug"}}},"reported":{"$version":1}}`; err != nil || string(document) != want {
			t.Fatalf("%s %v", document, err)
		}
		version, err := c.Report(w.Context(), []byte(`{"devid-agent":{"applied":true}}`))
		if err != nil || version != 2 {
			t.Fatalf("version %d: %v", version, err)
		}
		if got := string(w.cloud.Reported(device)); got != `{"devid-agent":{"applied":true}}` {
			t.Error(got)
		}
	}, answering)
}

func TestAChangeOfTheTwinIsTold(t *testing.T) {
	var told []string
	inWorld(t, sim.Temper{}, func(w *world) {
		w.open()
		for _, patch := range []string{`{"a":1}`, `{"a":null}`} {
			if _, err := w.cloud.SetDesired(device, []byte(patch)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := fmt.Sprint(told); got != `[2 {"$version":2,"a":1} 3 {"$version":3,"a":null}]` {
			t.Error(got)
		}
	}, func(c *Config) {
		c.Handlers.Desired = func(version int64, patch []byte) { told = append(told, fmt.Sprint(version), string(patch)) }
	})
}

func TestTheHubGrantsFiveSubscriptionsAndTheAgentNeedsNoMore(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		_, key := w.nextKey()
		if _, err := w.issuer().Issue(w.Context(), device, key); err != nil {
			t.Fatal(err)
		}
		all := append(c.filters(), answerFilter)
		seen := map[string]bool{}
		for _, f := range all {
			seen[f] = true
			if err := c.session.Subscribe(w.Context(), f); err != nil {
				t.Error(err)
			}
		}
		if len(seen) != 5 {
			t.Errorf("%d subscriptions: %q", len(seen), all)
		}
		if err := c.session.Subscribe(w.Context(), "$iothub/methods/POST/one/#"); err == nil {
			t.Error("the hub grants a sixth: the simulator does not count")
		}
	}, answering)
}

func TestAHubThatIsBusyIsAskedLater(t *testing.T) {
	for code, want := range map[int]fault.Kind{429001: fault.Transient, 500001: fault.Transient, 503001: fault.Transient, 404001: fault.Permanent} {
		temper := sim.Temper{Fault: func(p sim.Point, _ string, n int) error {
			if p == sim.AtTwin && n == 1 {
				return &sim.Refusal{Code: code}
			}
			return nil
		}}
		inWorld(t, temper, func(w *world) {
			c := w.open()
			_, err := c.Twin(w.Context())
			if err == nil || fault.Of(err) != want {
				t.Errorf("%d: %v is %v, want %v", code, err, fault.Of(err), want)
			}
			if wait := fault.RetryAfter(err); (wait > 0) != (code == 429001) {
				t.Errorf("%d: wait %v", code, wait)
			}
			if _, err := c.Twin(w.Context()); err != nil {
				t.Error(err)
			}
		}, answering)
	}
}

func TestAPatchThatTheHubDoesNotTakeIsPermanent(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		for _, patch := range []string{`{"a.b":1}`, `[]`, `{"a":"` + strings.Repeat("x", 33<<10) + `"}`} {
			if _, err := c.Report(w.Context(), []byte(patch)); err == nil || fault.Of(err) != fault.Permanent {
				t.Errorf("%.20s: %v", patch, err)
			}
		}
		if got := string(w.cloud.Reported(device)); got != `{}` {
			t.Error(got)
		}
	}, answering)
}

func TestAHubThatSaysNothingOfTheTwinIsGivenUpInTime(t *testing.T) {
	temper := sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
		if p == sim.AtTwin {
			return sim.ErrSilent
		}
		return nil
	}}
	inWorld(t, temper, func(w *world) {
		c, start := w.open(), time.Now()
		if _, err := c.Twin(w.Context()); !errors.Is(err, errTwinSilent) || fault.Of(err) != fault.Transient || time.Since(start) != twinTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := sendAll(t, c, records(3)); err != nil {
			t.Error("telemetry suffers:", err)
		}
	}, answering)
}

func TestAKeptSessionIsSubscribedAgain(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		for range 3 {
			c := w.open()
			if _, err := c.Twin(w.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(c.down.granted); n != 4 {
				t.Errorf("%d filters in this session", n)
			}
			c.Close()
		}
	}, answering)
}

// A hub of the basic tier may hang up on who asks for what it does not have: telemetry must not go down with it.
func TestFault34AHubThatHangsUpAtTheQuestionIsLeftAloneForAnHour(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.cloud.SetPolicy(func(p *sim.Policy) { p.BasicTier = true })
		lives := func() bool {
			w.open()
			select {
			case <-w.conn.Done():
				w.conn.Close()
				return false
			default:
				return true
			}
		}
		for range kills {
			if lives() {
				t.Fatal("the hub took the question: the story is another one")
			}
		}
		if !lives() {
			t.Fatal("the agent asks again, and telemetry has no session")
		}
		if _, err := w.conn.(*Conn).Twin(w.Context()); fault.Of(err) != fault.Operator || fault.Hint(err) != noRemote {
			t.Errorf("%v, hint %q", err, fault.Hint(err))
		}
		if err := sendAll(t, w.conn, records(3)); err != nil {
			t.Error(err)
		}
		w.conn.Close()
		w.cloud.SetPolicy(func(p *sim.Policy) { p.BasicTier = false })
		time.Sleep(respite)
		if _, err := w.open().Twin(w.Context()); err != nil {
			t.Error("the agent never asks again:", err)
		}
	}, answering)
}

func TestWhatComesWithTheFirstBytesOfASessionIsAnswered(t *testing.T) {
	var called atomic.Int32
	inWorld(t, sim.Temper{}, func(w *world) {
		w.open().Close()
		if _, err := w.cloud.SendC2D(device, sim.ToDevice{Body: []byte("waited")}); err != nil {
			t.Fatal(err)
		}
		w.open() // the hub sends with its CONNACK what the kept session has waited for
		if called.Load() != 1 || w.cloud.PendingC2D(device) != 0 {
			t.Errorf("handed over %d times, %d pending", called.Load(), w.cloud.PendingC2D(device))
		}
	}, answering, func(c *Config) {
		c.Handlers.Message = func(context.Context, map[string]string, []byte) error { called.Add(1); return nil }
	})
}

func FuzzTopicsFromTheHub(f *testing.F) {
	for _, s := range []string{
		"$iothub/twin/res/200/?$rid=1", "$iothub/twin/res/204/?$rid=a&$version=7", "$iothub/twin/res/x",
		"$iothub/twin/PATCH/properties/desired/?$version=3", "$iothub/twin/PATCH/properties/desired/?%24version=-1",
		"$iothub/methods/POST/reboot/?$rid=1f", "$iothub/methods/POST/a%20b/?x=1&%24rid=2", "$iothub/methods/POST//?$rid=",
		"devices/gateway-1/messages/devicebound/%24.mid=a%201&b=&c", "devices/gateway-1/messages/devicebound/?a=%zz&&=&==",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if a, ok := parseTwinAnswer(topic, nil); ok && (a.rid == "" || a.status < 100 || a.status > 599) {
			t.Errorf("%q: %+v", topic, a)
		}
		if v, ok := parseDesired(topic); ok && v < 1 {
			t.Errorf("%q: version %d", topic, v)
		}
		if m, ok := parseCall(topic); ok && (m.name == "" || m.rid == "" || strings.ContainsAny(m.rid, "&/?") && !strings.Contains(topic, m.rid)) {
			t.Errorf("%q: %+v", topic, m)
		}
		for k := range parseBag(topic) {
			if k == "" {
				t.Errorf("%q: a property without a name", topic)
			}
		}
		if b, err := json.Marshal(parseBag(topic)); err != nil {
			t.Errorf("%q: %s %v", topic, b, err)
		}
	})
}
