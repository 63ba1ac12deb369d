package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

// withTelemetry adds lines below telemetry: of the desk's configuration.
func (d *desk) withTelemetry(lines string) {
	d.t.Helper()
	b, err := os.ReadFile(d.file)
	if err != nil {
		d.t.Fatal(err)
	}
	d.configure(strings.Replace(string(b), "telemetry:\n", "telemetry:\n"+lines, 1))
}

// post sends a reading to the agent's socket, as soon as there is one.
func (d *desk) post(stream, body string) *http.Response {
	d.t.Helper()
	d.until("the agent takes readings", func() bool {
		conn, err := net.Dial("unix", filepath.Join(d.dir, "run", "ingest.sock"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(d.dir, "run", "ingest.sock"))
	}}}
	defer client.CloseIdleConnections()
	answer, err := client.Post("http://localhost/v1/telemetry/"+stream, "application/json", strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer
}

// has reports whether a message of the stream with that text is at the hub.
func (d *desk) has(stream, text string) bool {
	for _, m := range d.cloud.Received(gatewayID) {
		if m.Properties["stream"] == stream && strings.Contains(string(m.Body), text) {
			return true
		}
	}
	return false
}

func TestReadingsOfAllKindsOfSourcesArrive(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	listen, log := freePort(t), filepath.Join(d.dir, "press.log")
	d.withTelemetry(fmt.Sprintf("  tail: [{file: %s, stream: press, from: start}]\n  streams:\n    hall.temp: {priority: high}\n"+
		"    vibration: {batch: {bytes: 4KB, age: 300ms}}\n", log))
	d.replace("sensors: {interval: 200ms}", `sensors: {each: [{source: exec, as: meter, command: [/bin/echo, '{"litres": 7}'], every: 300ms, stream: meter}]}`)
	d.replace("ingest: {socket: run/ingest.sock}", "ingest: {socket: run/ingest.sock, mqtt: {listen: '"+listen+"'}}")
	d.append(azure(d.cloud))
	if err := os.WriteFile(log, []byte("{\"bar\": 210}\nthe press stands\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := d.run()
	d.until("the agent is online", func() bool { s := d.status(); return s.Hub != nil && s.Hub.State == "online" })
	awaitListener(t, listen)
	host, port, _ := strings.Cut(listen, ":")
	if out, err := exec.Command(program("mosquitto_pub"), "-h", host, "-p", port, "-q", "1", "-t", "hall/temp", "-m", `{"celsius": 21.5}`).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for n := range 3 {
		if answer := d.post("vibration", fmt.Sprintf(`{"g": %d}`, n)); answer.StatusCode != http.StatusOK {
			t.Errorf("vibration %d: %s", n, answer.Status)
		}
	}
	for _, want := range []struct{ stream, text string }{
		{"hall.temp", `{"celsius": 21.5}`}, {"press", `{"bar": 210}`}, {"press", "the press stands"}, {"meter", `"litres":7`}, {"vibration", `"v":{"g": 2}`},
	} {
		d.until(want.stream+" arrives", func() bool { return d.has(want.stream, want.text) })
	}
	for _, m := range d.cloud.Received(gatewayID) {
		if packed := bytes.HasPrefix(m.Body, []byte("[{")); packed != (m.Properties["stream"] == "vibration") {
			t.Errorf("packed %v: %v %s", packed, m.Properties, m.Body)
		}
	}
	stop() // the last status is of the end
	s := d.status()
	for _, stream := range []string{"hall.temp", "vibration"} {
		if got, shown := s.Streams[stream]; !shown || got.LastSeq == 0 || got.Depth != 0 {
			t.Errorf("status of %s: %+v", stream, got)
		}
	}
	if s.Ingest == nil || s.Ingest.Taken != 4 {
		t.Errorf("the status counts %+v", s.Ingest)
	}
}

func TestAFullStreamIsRefusedAndTheOthersAreTaken(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withTelemetry("  streams:\n    alarms: {max_bytes: 1MiB, drop: refuse, priority: high}\n")
	d.append(strings.Replace(azure(d.cloud), "hub: {", "hub: {transport: auto, ", 1))
	d.cloud.SetTemper(sim.Temper{Offline: true})
	stop := d.run()
	big, answer := `{"text": "`+strings.Repeat("x", 60<<10)+`"}`, &http.Response{StatusCode: http.StatusOK}
	taken := 0
	for ; taken < 100 && answer.StatusCode == http.StatusOK; taken++ {
		answer = d.post("alarms", big)
	}
	if taken--; answer.StatusCode != http.StatusInsufficientStorage || answer.Header.Get("Retry-After") == "" || taken < 8 {
		t.Fatalf("after %d alarms: %s, Retry-After %q", taken, answer.Status, answer.Header.Get("Retry-After"))
	}
	if answer := d.post("press", big); answer.StatusCode != http.StatusOK {
		t.Errorf("another stream: %s", answer.Status)
	}
	stop()
	if s := d.status(); s.Streams["alarms"].Depth != uint64(taken) || s.Streams["alarms"].Refused != 1 || s.Ingest.Refused != 1 {
		t.Errorf("the status counts %+v, %+v", s.Streams["alarms"], s.Ingest)
	}
	if _, out, _ := d.command("status"); !strings.Contains(out, "stream alarms") || !strings.Contains(out, "refused 1") {
		t.Errorf("for people the status is\n%s", out)
	}
	d.cloud.SetTemper(sim.Temper{})
	d.run()
	d.until("the alarms arrive", func() bool {
		n := 0
		for _, m := range d.cloud.Received(gatewayID) {
			if m.Properties["stream"] == "alarms" {
				n++
			}
		}
		return n >= taken
	})
	if answer := d.post("alarms", big); answer.StatusCode != http.StatusOK {
		t.Errorf("after that: %s", answer.Status)
	}
}

func TestADeviceBehindAFirewallTakesTheWebSocket(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(strings.Replace(azure(d.cloud), `hub: {connect: "`+d.cloud.HubAddr()+`"`,
		fmt.Sprintf("hub: {transport: auto, connect: %q, connect_websocket: %q", freePort(t), d.cloud.HubWebSocketAddr()), 1))
	if code, out, errOut := d.command("enroll"); code != 0 || !strings.Contains(out, "generation 1,") {
		t.Fatalf("enroll: %d %s%s", code, out, errOut)
	}
	if code, out, _ := d.command("check"); code != 0 || !strings.Contains(out, d.cloud.HubWebSocketAddr()) {
		t.Errorf("check: %d\n%s", code, out)
	}
	d.run()
	d.until("readings arrive", func() bool { return len(d.cloud.Received(gatewayID)) > 0 })
}
