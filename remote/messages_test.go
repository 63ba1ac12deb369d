package remote_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func (w *world) send(m sim.ToDevice) {
	w.Helper()
	if m.Life == 0 {
		m.Life = 48 * time.Hour
	}
	if _, err := w.cloud.SendC2D(device, m); err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) wantPending(n int) {
	w.Helper()
	synctest.Wait()
	if got := w.cloud.PendingC2D(device); got != n {
		w.Errorf("the hub has %d messages, want %d", got, n)
	}
}

func TestAMessageIsTheHubsUntilAProgramHasIt(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		waiting := l.asking(l.Handler(), w.Context(), "/v1/messages/next?wait=60s")
		synctest.Wait()
		w.send(sim.ToDevice{ID: "m1", Properties: map[string]string{"a": "b"}, Body: []byte("hello")})
		got := <-waiting
		if got.Code != 200 || field(t, got, "text") != "hello" || field(t, got, "properties") != "map[$.mid:m1 $.to:/devices/gateway-1/messages/deviceBound a:b]" {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		w.wantPending(1)
		if r := l.ask("DELETE", "/v1/messages/"+field(t, got, "id"), ""); r.Code != 204 {
			t.Error(r.Code, r.Body)
		}
		w.wantPending(0)
		if r := l.ask("POST", "/v1/messages/"+field(t, got, "id")+"/done", ""); r.Code != 404 {
			t.Error("twice:", r.Code, r.Body)
		}
		if r := l.ask("GET", "/v1/messages/next?wait=1s", ""); r.Code != 204 {
			t.Error("again:", r.Code, r.Body)
		}
	})
}

func TestABodyComesAsWhatItIs(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		json := map[string]string{"$.ct": "application/json"}
		w.send(sim.ToDevice{Properties: json, Body: []byte(`{"n":1}`)})
		w.send(sim.ToDevice{Properties: json, Body: []byte(`{"n":`)})
		w.send(sim.ToDevice{Body: []byte{0xff, 0}})
		for _, want := range []string{"json map[n:1]", `text {"n":`, "base64 " + base64.StdEncoding.EncodeToString([]byte{0xff, 0})} {
			var kind string
			_, _ = fmt.Sscan(want, &kind)
			r := l.ask("GET", "/v1/messages/next", "")
			if got := kind + " " + field(t, r, kind); got != want {
				t.Errorf("%s, want %s", r.Body, want)
			}
		}
	})
}

func TestAProgramThatDiesGivesItsMessageBack(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		w.send(sim.ToDevice{Body: []byte("x")})
		first := l.ask("GET", "/v1/messages/next?lease=20s", "")
		if first.Code != 200 {
			t.Fatal(first.Code)
		}
		start := time.Now()
		second := l.ask("GET", "/v1/messages/next?wait=60s", "")
		if took := time.Since(start); second.Code != 200 || took != 20*time.Second || field(t, first, "id") != field(t, second, "id") {
			t.Errorf("%d %s after %v", second.Code, second.Body, took)
		}
		l.ask("POST", "/v1/messages/"+field(t, second, "id")+"/release", "")
		third := l.ask("GET", "/v1/messages/next?wait=0s", "")
		if third.Code != 200 {
			t.Errorf("a message that was given back is not offered: %d", third.Code)
		}
		w.wantPending(1)
		// One whose connection is gone when the message comes has not got it.
		l.ask("DELETE", "/v1/messages/"+field(t, third, "id"), "")
		ctx, hangUp := context.WithCancel(w.Context())
		gone := l.asking(l.Handler(), ctx, "/v1/messages/next?wait=60s")
		synctest.Wait()
		hangUp()
		<-gone
		w.send(sim.ToDevice{Body: []byte("y")})
		if r := l.ask("GET", "/v1/messages/next?wait=0s", ""); r.Code != 200 {
			t.Errorf("lost to a program that had hung up: %d", r.Code)
		}
	})
}

// A renewal changes the session: what a program does meanwhile must not be done twice.
func TestFault48AMessageThatIsWorkedOnOverAChangeOfSessionIsDoneOnce(t *testing.T) {
	for _, when := range []string{"while away", "after"} {
		inWorld(t, sim.Temper{}, func(w *world) {
			l := w.begin()
			settle()
			w.send(sim.ToDevice{ID: "m1", Body: []byte("open the valve")})
			got := l.ask("GET", "/v1/messages/next?lease=10m", "")
			path := "/v1/messages/" + field(t, got, "id")
			w.cloud.SetTemper(sim.Temper{Offline: true})
			time.Sleep(time.Minute)
			if when == "while away" {
				if r := l.ask("DELETE", path, ""); r.Code != http.StatusNoContent {
					t.Error(when, r.Code, r.Body)
				}
			}
			w.cloud.SetTemper(sim.Temper{})
			time.Sleep(6 * time.Minute)
			synctest.Wait()
			if when == "after" {
				w.wantPending(1)
				if r := l.ask("GET", "/v1/messages/next?wait=0s", ""); r.Code != 204 {
					t.Error("offered to another while it is worked on:", r.Body)
				}
				if r := l.ask("DELETE", path, ""); r.Code != http.StatusNoContent {
					t.Error(when, r.Code, r.Body)
				}
			}
			w.wantPending(0)
			if r := l.ask("GET", "/v1/messages/next?wait=1s", ""); r.Code != 204 {
				t.Error(when, "it came again:", r.Body)
			}
		})
	}
}

func TestTwoMessagesThatAreEqualAreTwo(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		for range 2 {
			status := make(chan error, 1)
			go func() { status <- l.Message(w.Context(), nil, []byte("step")) }()
			defer func() {
				if err := <-status; err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		for range 2 {
			r := l.ask("GET", "/v1/messages/next?wait=0s", "")
			if r.Code != 200 {
				t.Fatal(r.Code)
			}
			l.ask("DELETE", "/v1/messages/"+field(t, r, "id"), "")
		}
	})
}

func TestWithoutProgramsTheHubKeepsItsMessages(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		for i := range 50 {
			w.send(sim.ToDevice{Body: fmt.Append(nil, i)})
		}
		l.end()
		w.wantPending(50)
		l = w.begin()
		settle()
		for i := range 50 {
			r := l.ask("GET", "/v1/messages/next?wait=0s", "")
			if r.Code != 200 {
				t.Fatalf("message %d: %d", i, r.Code)
			}
			l.ask("DELETE", "/v1/messages/"+field(t, r, "id"), "")
		}
		w.wantPending(0)
	})
}

// The hub is told in the order of its messages (MQTT 3.1.1, 4.6), so that one that is done may have to wait for one before it.
func TestAMessageThatIsDoneBeforeAnOlderOneIsNotDoneAgainInTheNextSession(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		w.send(sim.ToDevice{ID: "m1", Body: []byte("slow")})
		w.send(sim.ToDevice{ID: "m2", Body: []byte("quick")})
		slow := l.ask("GET", "/v1/messages/next?lease=1h", "")
		quick := l.ask("GET", "/v1/messages/next?lease=1h", "")
		l.ask("DELETE", "/v1/messages/"+field(t, quick, "id"), "")
		w.wantPending(2)
		for range 3 {
			w.cloud.Disconnect(device)
			time.Sleep(6 * time.Minute)
			if r := l.ask("GET", "/v1/messages/next?wait=0s", ""); r.Code != 204 {
				t.Errorf("%s again", r.Body)
			}
			w.wantPending(2)
		}
		l.ask("DELETE", "/v1/messages/"+field(t, slow, "id"), "")
		w.wantPending(0)
		if r := l.ask("GET", "/v1/messages/next?wait=0s", ""); r.Code != 204 {
			t.Errorf("%s again", r.Body)
		}
	})
}

func TestAMessageThatCameWhileItsRepeatWasExpectedForDaysIsHeard(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		settle()
		command := sim.ToDevice{ID: "always the same", Body: []byte("open"), Life: time.Hour}
		w.send(command)
		got := l.ask("GET", "/v1/messages/next?lease=1h", "")
		w.cloud.SetTemper(sim.Temper{Offline: true})
		time.Sleep(time.Minute)
		l.ask("DELETE", "/v1/messages/"+field(t, got, "id"), "") // the hub is never told: it has let the message go by then
		time.Sleep(72 * time.Hour)
		w.cloud.SetTemper(sim.Temper{})
		time.Sleep(6 * time.Minute)
		w.send(command)
		if r := l.ask("GET", "/v1/messages/next?wait=0s", ""); r.Code != 200 {
			t.Errorf("%d: the message is lost", r.Code)
		}
	})
}

// "Understand cloud-to-device messaging" has a lock of one minute for each message, for all protocols.
func TestAMessageThatTakesLongerThanTheLockOfTheHubIsDoneOnce(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.cloud.SetPolicy(func(p *sim.Policy) { p.LetterLock = time.Minute })
		l := w.begin()
		settle()
		w.send(sim.ToDevice{ID: "m1", Body: []byte("slow")})
		got := l.ask("GET", "/v1/messages/next?lease=1h", "")
		time.Sleep(5*time.Minute + 30*time.Second)
		if r := l.ask("GET", "/v1/messages/next?wait=0s", ""); r.Code != 204 {
			t.Errorf("%s while it is worked on", r.Body)
		}
		l.ask("DELETE", "/v1/messages/"+field(t, got, "id"), "")
		w.wantPending(0)
		time.Sleep(5 * time.Minute)
		if r := l.ask("GET", "/v1/messages/next?wait=0s", ""); r.Code != 204 || !w.cloud.Online(device) {
			t.Errorf("%s again, online: %v", r.Body, w.cloud.Online(device))
		}
	})
}
