package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestTokensAreChangedBeforeTheyEndAndNothingGoesTwice(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		key := []byte("a key of the device, thirty-two.")
		file := filepath.Join(filepath.Dir(g.config.Hub.Roots), "hub.key")
		if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key)), 0o600); err != nil {
			t.Fatal(err)
		}
		g.cloud.CreateDevice(gatewayID, sim.Auth{Keys: [][]byte{key}})
		g.config.Provisioning.DPS.IDScope = ""
		g.config.Hub.Host, g.config.Hub.SymmetricKey = sim.HubHost, file
		b := g.start(&power{}, nil)
		b.takeFor(6 * time.Hour)
		time.Sleep(time.Minute)
		g.end(b)
		got := len(g.cloud.Received(gatewayID))
		if got != len(g.promised) {
			t.Errorf("%d messages of %d readings", got, len(g.promised))
		}
		if n := g.cloud.Count(gatewayID, sim.Connected); n < 7 || n > 9 { // every 48 minutes
			t.Errorf("%d sessions in six hours", n)
		}
		if n := g.cloud.Count(gatewayID, sim.Expired); n != 0 {
			t.Errorf("the hub ended %d sessions whose token had expired", n)
		}
	})
}
