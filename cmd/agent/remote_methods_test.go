//go:build !noremote

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

func TestTheCloudCallsWhatTheFileAllows(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(allowed, "run/ingest.sock"), "log-level, valve", "renew, log-level, valve", 1)
	onSockets(t, text, func(r *ruled) {
		stop := r.start()
		r.online()
		for _, c := range []struct {
			name, payload string
			status        int
			says          string
		}{
			{"ping", "", 200, `"time":`},
			{"status", "", 200, `"device":"` + gatewayID + `"`},
			{"check", "", 200, `"checks":[`},
			{"log-level", `{"level":"debug","for":"1s"}`, 200, `"until":`},
			{"log-level", `{"level":"loud"}`, 400, "none of debug, info"},
			{"reboot", "", 403, "remote.methods in the configuration file does not allow reboot"},
			{"nobody", "", 404, `"methods":["check","log-level","ping","renew","status"]`},
			{"renew", "", 202, `"accepted":true`},
		} {
			if status, body := r.invoke(c.name, c.payload); status != c.status || !strings.Contains(body, c.says) {
				t.Errorf("%s %s: %d %.300s", c.name, c.payload, status, body)
			}
		}
		r.wait("the renewal has come, and the twin knows", func() bool { return strings.Contains(string(r.cloud.Reported(gatewayID)), `"key":"device-g2"`) })
		r.wait("the log level has gone back", func() bool { return r.level.Level().String() == "INFO" })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAProgramAnswersMethodsAndTakesMessagesOverTheSocketAlsoWhileSettingsChange(t *testing.T) {
	onSockets(t, fmt.Sprintf(allowed, "run/ingest.sock"), func(r *ruled) {
		stop := r.start()
		r.online()
		go func() {
			for r.Context().Err() == nil {
				_, call := r.ask("GET", "/v1/methods/valve/next?wait=5s", "")
				var c struct{ ID string }
				if json.Unmarshal([]byte(call), &c) == nil && c.ID != "" {
					r.ask("POST", "/v1/methods/"+c.ID+"/result?status=207", `{"open":true}`)
				}
			}
		}()
		answers := func() bool {
			status, body := r.invoke("valve", `{"to":3}`)
			return status == 207 && body == `{"open":true}`
		}
		r.wait("the program answers", answers)

		if _, err := r.cloud.SendC2D(gatewayID, sim.ToDevice{ID: "m-1", Body: []byte("open"), Properties: map[string]string{"valve": "3"}}); err != nil {
			t.Fatal(err)
		}
		status, text := r.ask("GET", "/v1/messages/next?wait=2m&lease=5m", "")
		var m struct {
			ID, Text   string
			Properties map[string]string
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil || status != 200 || m.Text != "open" || m.Properties["valve"] != "3" {
			t.Fatalf("%d %s", status, text)
		}
		r.desire(`{"telemetry":{"streams":{"press":{"ttl":"1h"}}}}`)
		r.told(true)
		r.wait("the program answers after the change", answers)
		if n := r.cloud.PendingC2D(gatewayID); n != 1 {
			t.Errorf("%d messages are the hub's, before the program has said that it is done", n)
		}
		if status, text := r.ask("GET", "/v1/messages/next?wait=0s", ""); status != 204 {
			t.Errorf("the message that a program works on is handed out again: %d %s", status, text)
		}
		if status, text := r.ask("DELETE", "/v1/messages/"+m.ID, ""); status != 204 {
			t.Errorf("%d %s", status, text)
		}
		r.wait("the hub forgets the message", func() bool { return r.cloud.PendingC2D(gatewayID) == 0 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWithoutASectionTheCloudCanAskForNothing(t *testing.T) {
	onSockets(t, "telemetry: {sensors: {interval: 100ms}, ingest: {socket: run/ingest.sock}}\n", func(r *ruled) {
		stop := r.start()
		r.wait("telemetry goes", func() bool { return len(r.cloud.Received(gatewayID)) > 2 })
		for _, e := range r.cloud.Events() {
			if e.Kind == sim.Subscribed && !strings.HasPrefix(e.Detail, "$iothub/credentials/") && e.Service == "hub" {
				t.Errorf("the agent subscribes to %s", e.Detail)
			}
		}
		if status, body := r.invoke("ping", ""); status != 0 || !strings.Contains(body, "404103") {
			t.Errorf("a method is answered: %d %s", status, body)
		}
		r.desire(`{"telemetry":{"sensors":{"interval":"1h"}}}`)
		if _, err := r.cloud.SendC2D(gatewayID, sim.ToDevice{Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		before := len(r.cloud.Received(gatewayID))
		r.wait("telemetry goes on", func() bool { return len(r.cloud.Received(gatewayID)) > before+5 })
		if status, body := r.ask("GET", "/v1/messages/next?wait=0s", ""); status != 404 {
			t.Errorf("%d %s", status, body)
		}
		if n, twin := r.cloud.PendingC2D(gatewayID), string(r.cloud.Reported(gatewayID)); n != 1 || twin != "{}" {
			t.Errorf("%d messages wait, reported is %s", n, twin)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSystemdIsNotToldOfAnEndWhenSettingsChange(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", name)
	said := make(chan string, 1000)
	go func() {
		defer close(said)
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			said <- string(buf[:n])
		}
	}()
	onSockets(t, withoutSocket, func(r *ruled) {
		stop := r.start()
		r.online()
		r.desire(`{"telemetry":{"sensors":{"interval":"20s"}}}`)
		r.told(true)
		before := len(said)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		var all []string
		for line := range said {
			all = append(all, line)
		}
		if first := slices.Index(all, "STOPPING=1"); first < before {
			t.Errorf("systemd would kill an agent that goes on: %q at %d of %d", all, first, before)
		}
	})
}
