package iothub

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// methods lets the cloud call, and nothing else.
func methods(f func(ctx context.Context, name string, payload []byte) (int, []byte)) func(*Config) {
	return func(c *Config) { c.Handlers = Handlers{Method: f} }
}

type outcome struct {
	sim.Answer
	err error
}

// invoke calls a method as the cloud does, and returns at once.
func (w *world) invoke(name, payload string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		a, err := w.cloud.Invoke(w.Context(), device, name, []byte(payload), 0)
		done <- outcome{a, err}
	}()
	return done
}

func TestADirectMethodGetsItsAnswer(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.open()
		if got := <-w.invoke("ping", `{"n":5}`); got.err != nil || got.Status != 207 || string(got.Payload) != `{"heard":"ping {\"n\":5}"}` {
			t.Errorf("%+v %s", got, got.Payload)
		}
		if got := <-w.invoke("silent", ""); got.err != nil || got.Status != 200 || string(got.Payload) != `null` {
			t.Errorf("%+v %s", got, got.Payload)
		}
	}, methods(func(_ context.Context, name string, payload []byte) (int, []byte) {
		if name == "silent" {
			return 200, nil
		}
		return 207, fmt.Appendf(nil, `{"heard":%q}`, name+" "+string(payload))
	}))
}

func TestAnAnswerThatIsNoneDoesNotEndTheSession(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		for _, name := range []string{"no-json", "huge"} {
			if got := <-w.invoke(name, ""); got.err != nil || got.Status != 500 {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if err := sendAll(t, c, records(1)); err != nil {
			t.Error(err)
		}
	}, methods(func(_ context.Context, name string, _ []byte) (int, []byte) {
		if name == "huge" {
			return 200, []byte(`"` + strings.Repeat("x", maxMethod) + `"`)
		}
		return 200, []byte("done")
	}))
}

func TestMoreMethodsThanTheAgentWorksOnAreToldToComeLater(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.open()
		var slow []<-chan outcome
		for range maxCalls {
			slow = append(slow, w.invoke("slow", ""))
		}
		synctest.Wait()
		if got := <-w.invoke("ping", ""); got.err != nil || got.Status != 429 {
			t.Errorf("%+v", got)
		}
		for _, s := range slow {
			if got := <-s; got.err != nil || got.Status != 200 {
				t.Errorf("%+v", got)
			}
		}
		if got := <-w.invoke("ping", ""); got.err != nil || got.Status != 200 {
			t.Errorf("and never again: %+v", got)
		}
	}, methods(func(_ context.Context, name string, _ []byte) (int, []byte) {
		if name == "slow" {
			time.Sleep(10 * time.Second)
		}
		return 200, nil
	}))
}

func TestAMethodEndsWithItsSession(t *testing.T) {
	var ended chan error
	inWorld(t, sim.Temper{}, func(w *world) {
		ended = make(chan error, 1)
		c := w.open()
		answer := w.invoke("long", "")
		synctest.Wait()
		w.cloud.Disconnect(device)
		<-c.Done()
		if err := <-ended; err == nil {
			t.Error("the method does not know")
		}
		<-answer
	}, methods(func(ctx context.Context, _ string, _ []byte) (int, []byte) {
		<-ctx.Done()
		ended <- ctx.Err()
		return 200, nil
	}))
}

func TestACallThatComesTwiceIsDoneOnce(t *testing.T) {
	var done atomic.Int32
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		for range 3 {
			c.receive("$iothub/methods/POST/open-valve/?$rid=1", nil, func() {})
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		c.receive("$iothub/methods/POST/open-valve/?$rid=1", nil, func() {}) // of a hub that begins to count anew
		time.Sleep(time.Minute)
		if n := done.Load(); n != 2 {
			t.Errorf("the valve was opened %d times for two calls", n)
		}
	}, methods(func(context.Context, string, []byte) (int, []byte) {
		done.Add(1)
		time.Sleep(10 * time.Second)
		return 200, nil
	}))
}

func TestACallThatNobodyCanAnswerDoesNotEndTheSession(t *testing.T) {
	var done atomic.Int32
	inWorld(t, sim.Temper{}, func(w *world) {
		c := w.open()
		for _, query := range []string{"", "?", "?$rid", "?$rid=", "$rid", "?rid=1", "?$rid=#", "?$rid=a/+/b", "?$rid=\x00", "?$rid=" + strings.Repeat("1", 65500)} {
			c.receive("$iothub/methods/POST/ping/"+query, nil, func() {})
		}
		if err := sendAll(t, c, records(3)); err != nil || done.Load() != 0 {
			t.Errorf("%v, called %d times", err, done.Load())
		}
	}, methods(func(context.Context, string, []byte) (int, []byte) { done.Add(1); return 200, nil }))
}

// What is kept for the next session would be done when nobody waits for it any more.
func TestTheHubIsAskedToKeepNothingButMessages(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.open()
		var granted []string
		for _, e := range w.cloud.Events() {
			if e.Kind == sim.Subscribed {
				granted = append(granted, e.Detail)
			}
		}
		want := "$iothub/twin/PATCH/properties/desired/#: 0x0 $iothub/twin/res/#: 0x0 $iothub/methods/POST/#: 0x0 devices/gateway-1/messages/devicebound/#: 0x1"
		if got := strings.Join(granted, " "); got != want {
			t.Error(got)
		}
	}, answering)
}
