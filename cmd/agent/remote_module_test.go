//go:build !noremote

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/sim"
)

// asModule makes the gateway a module of the device, with a certificate from the factory and a fixed hub.
func (r *ruled) asModule(module string) {
	r.Helper()
	r.name = gatewayID + "/" + module
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		r.Fatal(err)
	}
	chain, err := r.cloud.Bootstrap(r.name, key.Public(), 24*time.Hour)
	if err != nil {
		r.Fatal(err)
	}
	r.cloud.CreateDevice(r.name, sim.Auth{CA: r.cloud.FactoryCA()})
	for name, text := range map[string]string{"bootstrap.pem": identity.EncodeChain(chain), "bootstrap.key": string(keyPEM(r.T, key))} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			r.Fatal(err)
		}
	}
	r.text = strings.Replace(r.text, azure(r.cloud), fmt.Sprintf("hub: {host: %s, connect: %q, roots: roots.pem}\n", sim.HubHost, r.cloud.HubAddr()), 1)
	r.text = strings.Replace(r.text, "id: "+gatewayID+",", "id: "+gatewayID+", module: "+module+",", 1)
}

func TestAModuleSendsAndIsRuledAsADeviceIs(t *testing.T) {
	onSockets(t, fmt.Sprintf(allowed, "run/ingest.sock"), func(r *ruled) {
		r.asModule("vision")
		stop := r.start()
		r.online()
		if code, said := r.ask("POST", "/v1/telemetry/frames", `{"n":1}`); code != 200 {
			t.Fatalf("%d %s", code, said)
		}
		r.wait("the reading arrives as the module's", func() bool {
			for _, m := range r.cloud.Received(r.name) {
				if string(m.Body) == `{"n":1}` && strings.HasPrefix(m.Topic, "devices/"+gatewayID+"/modules/vision/messages/events/") {
					return true
				}
			}
			return false
		})

		r.desire(`{"telemetry":{"streams":{"frames":{"ttl":"1h"}}},"log":{"level":"warn"}}`)
		r.told(true)
		if r.level.Level().String() != "WARN" {
			t.Errorf("the log level is %v", r.level.Level())
		}
		r.desire(`{"telemetry":{"sensors":{"interval":"fast"}}}`)
		if said := r.told(false); !strings.Contains(said, "telemetry.sensors.interval") {
			t.Error(said)
		}
		if status, body := r.invoke("status", ""); status != 200 || !strings.Contains(body, `"device_id":"`+r.name+`"`) {
			t.Errorf("status: %d %.300s", status, body)
		}
		if status, body := r.invoke("reboot", ""); status != 403 {
			t.Errorf("reboot: %d %s", status, body)
		}

		if _, err := r.cloud.SendC2D(r.name, sim.ToDevice{ID: "m-1", Input: "commands", Body: []byte("focus"), Properties: map[string]string{"to": "3"}}); err != nil {
			t.Fatal(err)
		}
		status, text := r.ask("GET", "/v1/messages/next?wait=20s&lease=5m", "")
		var m struct {
			ID, Text   string
			Properties map[string]string
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil || status != 200 || m.Text != "focus" || m.Properties["to"] != "3" || m.Properties["$.input"] != "commands" {
			t.Fatalf("%d %s", status, text)
		}
		if n := r.cloud.PendingC2D(r.name); n != 1 {
			t.Errorf("%d messages are the hub's, before the program has said that it is done", n)
		}
		if status, text := r.ask("DELETE", "/v1/messages/"+m.ID, ""); status != 204 {
			t.Errorf("%d %s", status, text)
		}
		r.wait("the hub forgets the message", func() bool { return r.cloud.PendingC2D(r.name) == 0 })

		for _, e := range r.cloud.Events() {
			if e.Kind == sim.Subscribed && (strings.Contains(e.Detail, ": 0x80") || strings.Contains(e.Detail, "credentials") && e.Service == "hub") {
				t.Errorf("the module subscribes to what modules do not have: %s", e.Detail)
			}
		}
		if n := len(r.cloud.Received(gatewayID)); n != 0 {
			t.Errorf("%d readings arrived as the device's", n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}
