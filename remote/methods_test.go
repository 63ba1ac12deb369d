package remote_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/remote"
	"github.com/devid-agent/devid-agent/sim"
)

func TestMethodsAreAnsweredAsTheFileAllows(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		renewals := 0
		w.config.Actions = remote.Actions{
			Status: func() any { return "secret" },
			Renew:  func(context.Context) error { renewals++; return nil },
		}
		w.begin()
		settle()
		w.wantAnswer(<-w.invoke("ping", "{}"), 200, "")
		w.wantAnswer(<-w.invoke("renew", "null"), 202, `{"accepted":true}`)
		w.wantAnswer(<-w.invoke("status", ""), 403, `{"error":"remote.methods in the configuration file does not allow status"}`)
		w.wantAnswer(<-w.invoke("reboot", ""), 404, `{"error":"there is no method reboot","methods":["ping","renew"]}`) // this device cannot
		if renewals != 1 {
			t.Errorf("%d renewals", renewals)
		}
	})
}

func TestACheckThatFailsSaysWhatToDo(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.Methods = []string{"check"}
		w.config.Actions.Check = func(ctx context.Context) (any, error) {
			return []string{"clock"}, fault.AskOperator(errors.New("the clock is wrong"), "set it")
		}
		w.begin()
		settle()
		w.wantAnswer(<-w.invoke("check", ""), 500, `{"error":"the clock is wrong","hint":"set it","result":["clock"]}`)
	})
}

func TestAMethodThatHangsOrPanicsIsAnsweredInTime(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.Methods = []string{"check", "status"}
		w.config.Actions.Check = func(ctx context.Context) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		w.config.Actions.Status = func() any { panic("no") }
		w.begin()
		settle()
		start := time.Now()
		w.wantAnswer(<-w.invoke("check", ""), 504, "")
		if took := time.Since(start); took > 26*time.Second {
			t.Errorf("answered after %v: the service waits 30 s", took)
		}
		w.wantAnswer(<-w.invoke("status", ""), 500, `{"error":"the method panics: no"}`)
	})
}

func TestTheLogLevelGoesBackByItself(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		level := &remote.Level{Var: new(slog.LevelVar)}
		w.config.Actions.Level = level
		w.begin()
		settle()
		want := func(l slog.Level) {
			t.Helper()
			if got := level.Var.Level(); got != l {
				t.Errorf("logging at %v, want %v", got, l)
			}
		}
		w.wantAnswer(<-w.invoke("log-level", `{"level":"debug","for":"5m"}`), 200, "")
		want(slog.LevelDebug)
		time.Sleep(4 * time.Minute)
		level.Set(slog.LevelWarn) // the settings change meanwhile
		want(slog.LevelDebug)
		w.wantAnswer(<-w.invoke("log-level", `{"level":"error","for":"5m"}`), 200, "")
		time.Sleep(4 * time.Minute)
		want(slog.LevelError)
		time.Sleep(2 * time.Minute)
		want(slog.LevelWarn)
		w.wantAnswer(<-w.invoke("log-level", `{"level":"loud"}`), 400, `{"error":"level: \"loud\" is none of debug, info, warn, error"}`)
		w.wantAnswer(<-w.invoke("log-level", `{"level":"info","for":"1y"}`), 400, `{"error":"for: 1y is no time from 1s to 24h0m0s: write 30s, 5m or 1h"}`)
		w.wantAnswer(<-w.invoke("log-level", `7`), 400, "")
	})
}

func TestARebootComesAfterItsAnswerAndOnce(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		var reboots atomic.Int32
		w.config.Actions.Reboot = func() error { reboots.Add(1); return nil }
		w.begin()
		settle()
		w.wantAnswer(<-w.invoke("reboot", `{"in":"10s"}`), 202, `{"accepted":true,"in":"10s"}`)
		w.wantAnswer(<-w.invoke("reboot", ""), 409, "")
		if reboots.Load() != 0 {
			t.Error("before the answer could arrive")
		}
		time.Sleep(11 * time.Second)
		if n := reboots.Load(); n != 1 {
			t.Errorf("%d reboots", n)
		}
	})
}

func TestAProgramAnswersItsMethod(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		h := l.Handler()
		settle()
		w.wantAnswer(<-w.invoke("valve", ""), 404, `{"error":"there is no method valve","methods":["ping"]}`)
		polling := l.asking(h, w.Context(), "/v1/methods/valve/next?wait=60s")
		synctest.Wait()
		done := w.invoke("valve", `{"open":true}`)
		call := <-polling
		if call.Code != 200 || field(t, call, "name") != "valve" || field(t, call, "payload") != "map[open:true]" {
			t.Fatalf("%d %s", call.Code, call.Body)
		}
		path := "/v1/methods/" + field(t, call, "id") + "/result"
		if r := l.ask("POST", path+"?status=x", `1`); r.Code != 400 {
			t.Error(r.Code, r.Body)
		}
		if r := l.ask("POST", path, `{`); r.Code != 400 {
			t.Error(r.Code, r.Body)
		}
		if r := l.ask("POST", path+"?status=201", `{"is":"open"}`); r.Code != 204 {
			t.Error(r.Code, r.Body)
		}
		w.wantAnswer(<-done, 201, `{"is":"open"}`)
		if r := l.ask("POST", path, `1`); r.Code != 404 {
			t.Error("twice:", r.Code, r.Body)
		}
		// Between two polls the program is waited for, and one that never comes back is found out.
		again := w.invoke("valve", "")
		synctest.Wait()
		call = <-l.asking(h, w.Context(), "/v1/methods/next?names=other,valve&wait=60s")
		if call.Code != 403 {
			t.Error(call.Code, call.Body)
		}
		call = <-l.asking(h, w.Context(), "/v1/methods/next?names=valve&wait=60s")
		l.ask("POST", "/v1/methods/"+field(t, call, "id")+"/result", "")
		w.wantAnswer(<-again, 200, `null`)
		w.wantAnswer(<-w.invoke("valve", ""), 504, "")
		time.Sleep(3 * time.Minute)
		w.wantAnswer(<-w.invoke("valve", ""), 404, "")
	})
}

func TestACallThatDoesNotReachItsProgramGoesToTheNext(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		h := l.Handler()
		settle()
		dying, die := context.WithCancel(w.Context())
		polling := l.asking(h, dying, "/v1/methods/valve/next")
		synctest.Wait()
		die()
		<-polling
		done := w.invoke("valve", "")
		synctest.Wait()
		call := <-l.asking(h, w.Context(), "/v1/methods/valve/next")
		l.ask("POST", "/v1/methods/"+field(t, call, "id")+"/result", `"ok"`)
		w.wantAnswer(<-done, 200, `"ok"`)
	})
}

func TestCallsThatNoProgramComesForAreBounded(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		l := w.begin()
		<-l.asking(l.Handler(), w.Context(), "/v1/methods/valve/next?wait=1s")
		statuses := make(chan int, 20)
		for range 20 {
			go func() {
				status, _ := l.Method(w.Context(), "valve", nil)
				statuses <- status
			}()
		}
		count := map[int]int{}
		for range 20 {
			count[<-statuses]++
		}
		if count[429] != 12 || count[504] != 8 {
			t.Error(count)
		}
	})
}

func TestAProgramCannotTakeAMethodOfTheAgent(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		w.config.Methods = []string{"*"}
		l := w.begin()
		for name, want := range map[string]int{"ping": 409, "reboot": 409, "renew": 409, "a%20b": 400, strings.Repeat("x", 65): 400} {
			if r := l.ask("GET", "/v1/methods/"+name+"/next?wait=0s", ""); r.Code != want {
				t.Errorf("%s: %d %s", name, r.Code, r.Body)
			}
		}
		if r := l.ask("GET", "/v1/methods/free/next?wait=0s", ""); r.Code != 204 {
			t.Error(r.Code, r.Body)
		}
		for _, path := range []string{"/v1/methods/next?wait=1y", "/v1/messages/next?lease=x"} {
			if r := l.ask("GET", path, ""); r.Code != 400 {
				t.Errorf("%s: %d %s", path, r.Code, r.Body)
			}
		}
		if r := l.ask("PUT", "/v1/methods/next", ""); r.Code != 404 {
			t.Error(r.Code)
		}
	})
}

// A server's deadlines are for readings; a program that waits for a call must not be cut off by them.
func TestALongWaitOutlivesTheServersDeadlines(t *testing.T) {
	r := remote.New(remote.Config{Methods: []string{"*"}})
	server := &http.Server{Handler: r.Handler(), ReadTimeout: 300 * time.Millisecond, WriteTimeout: 300 * time.Millisecond}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	defer server.Close()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
	}}}
	start := time.Now()
	a, err := client.Get("http://agent/v1/methods/valve/next?wait=1s")
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if took := time.Since(start); a.StatusCode != 204 || took < time.Second {
		t.Errorf("%d after %v", a.StatusCode, took)
	}
}
