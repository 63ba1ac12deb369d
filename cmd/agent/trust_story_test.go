package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/sim"
)

// distrusted lets the gateway meet servers that it must not talk to, for so long, and wants nothing told to them and
// nothing lost.
func (g *gateway) distrusted(b *boot, d time.Duration) {
	g.t.Helper()
	g.cloud.Disconnect(gatewayID)
	arrived := len(g.cloud.Received(gatewayID))
	sessions := g.cloud.Count(gatewayID, sim.Connected)
	b.takeFor(d)
	if n := len(g.cloud.Received(gatewayID)); n != arrived || g.cloud.Count(gatewayID, sim.Connected) != sessions {
		g.t.Errorf("%d messages and %d sessions went to a server that nothing vouches for", n-arrived, g.cloud.Count(gatewayID, sim.Connected)-sessions)
	}
	if err := b.device.pump.Report().LastError; err == nil || fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
		g.t.Errorf("a person is told %v, and to do %q", err, fault.Hint(err))
	}
}

func TestFault11AHubWhoseCertificateHasExpiredIsRefusedUntilItHasAnother(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		b := g.start(&power{}, nil)
		b.takeFor(2 * time.Minute)
		g.cloud.SetTemper(sim.Temper{Server: sim.ServerExpired})
		g.distrusted(b, 3*time.Hour)
		g.cloud.SetTemper(sim.Temper{})
		b.takeFor(3 * time.Hour)
		for _, wrong := range g.audit() {
			t.Error(wrong)
		}
		g.end(b)
	})
}

// TestFault11ANewRootIsTrustedWhenTheTrustFileHasItAndNotBefore is told twice: while the certificate lasts, so that the
// hub is found by itself, and when it has died meanwhile, so that DPS is to be trusted anew, too.
func TestFault11ANewRootIsTrustedWhenTheTrustFileHasItAndNotBefore(t *testing.T) {
	for _, life := range []time.Duration{certificateLife, 30 * 24 * time.Hour} {
		inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
			g.cloud.SetPolicy(func(p *sim.Policy) { p.Life = life })
			b := g.start(&power{}, nil)
			b.takeFor(2 * time.Minute)
			before, err := os.ReadFile(g.config.Hub.Roots)
			if err := errors.Join(err, g.cloud.ReplaceServerRoot()); err != nil {
				t.Fatal(err)
			}
			g.distrusted(b, 3*time.Hour)
			half := g.cloud.RootsPEM()
			for _, damaged := range [][]byte{half[:len(half)/2], nil} {
				g.trust(damaged)
				g.distrusted(b, 2*time.Hour)
			}
			g.trust(before)
			g.distrusted(b, 2*time.Hour)
			g.trust(append(before, g.cloud.RootsPEM()...))
			b.takeFor(70 * time.Minute)
			for _, wrong := range g.audit() {
				t.Error(wrong)
			}
			g.end(b)
			if n := strings.Count(g.log.String(), "agent starts"); n > 1 {
				t.Errorf("the agent began %d times", n)
			}
		})
	}
}

// trust puts these bytes into the file of roots.
func (g *gateway) trust(roots []byte) {
	g.t.Helper()
	if err := os.WriteFile(g.config.Hub.Roots, roots, 0o644); err != nil {
		g.t.Fatal(err)
	}
}
