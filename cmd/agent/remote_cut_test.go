//go:build !noremote

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The level of the log is as good as any setting for a world in which one cuts the device off: file descriptors may be at
// their end, or the memory.
func TestSettingsThatCutTheDeviceOffFromTheHubAreTakenBack(t *testing.T) {
	inRuled(t, withoutSocket, func(r *ruled) {
		reach, cuts := r.dial, atomic.Int64{}
		r.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if r.level.Level() == slog.LevelWarn {
				cuts.Add(1)
				return nil, errors.New("too many open files")
			}
			return reach(ctx, network, address)
		}
		stop := r.start()
		r.online()
		r.desire(`{"telemetry":{"sensors":{"interval":"20s"}}}`)
		r.told(true)
		time.Sleep(2 * time.Minute)
		r.desire(`{"telemetry":{"streams":{"island":{"ttl":"1h"}}},"log":{"level":"warn"}}`)
		time.Sleep(3 * time.Hour)
		if said := r.told(false); said != "the hub was not reached within 15m0s of applying this, 3 times" || cuts.Load() == 0 {
			t.Errorf("%s; cut off %d times", said, cuts.Load())
		}
		if _, cut := r.status().Streams["island"]; cut || !r.cloud.Online(gatewayID) {
			t.Error("the device is still cut off")
		}
		before := r.machine()
		time.Sleep(2 * time.Minute)
		if n := r.machine() - before; n < 5 || n > 8 {
			t.Errorf("%d readings in two minutes at 20 s: the last good settings do not hold", n)
		}
		if n := strings.Count(r.log.String(), "going on with those before"); n != 3 {
			t.Errorf("taken back %d times", n)
		}
		r.desire(`{"telemetry":{"streams":null,"sensors":{"interval":"10s"}},"log":null}`)
		r.told(true)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		r.wantAll()
	})
}

// What leads to the hub, and as whom, is not the cloud's to change, whatever the file lists.
func TestNothingThatLeadsToTheHubCanBeNamedInTheTwin(t *testing.T) {
	text := strings.Replace(withoutSocket, "change: [", "change: [telemetry, ", 1)
	inRuled(t, text, func(r *ruled) {
		stop := r.start()
		r.online()
		for _, patch := range []string{
			`{"hub":{"host":"evil.example"}}`, `{"hub":{"connect":"192.0.2.1:8883"}}`, `{"hub":{"keep_alive":"5s"}}`, `{"hub":null,"device":{"id":"other"}}`,
			`{"device":{"state":"/tmp"}}`, `{"network":{"proxy":"http://192.0.2.1:1"}}`, `{"trust":{"roots":"/tmp/x"}}`, `{"keys":{"tpm":"device:/dev/null"}}`,
			`{"bootstrap":{"key":"/tmp/x"}}`, `{"provisioning":{"dps":{"id_scope":"x"}}}`, `{"renewal":{"issuer":"hand"}}`, `{"remote":{"change":[]}}`,
			`{"remote":{"methods":["reboot"]}}`, `{"status":{"file":"/tmp/x"}}`, `{"log":{"format":"json"}}`, `{"hub":"x"}`, `{"hub":[]}`, `{"telemetry":[]}`, `{"telemetry":"x"}`,
		} {
			r.desire(patch)
			if said := r.told(false); said == "" {
				t.Errorf("%s: %s", patch, said)
			}
			r.desire(`null`)
			r.told(true)
		}
		if n := strings.Count(r.log.String(), "going on with these"); n != 0 || !r.cloud.Online(gatewayID) {
			t.Errorf("the agent was opened anew %d times", n)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}
