package main

import (
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
)

func identityLook(c *Config) (current, pending *identity.Identity, err error) {
	return identity.Look(identityDir(c))
}

// generation is the generation in force on the gateway's disk, 0 for none.
func (g *gateway) generation() uint64 {
	current, _, err := identityLook(g.config)
	if err != nil || current == nil {
		return 0
	}
	return current.Generation
}

// end switches off, and nothing but that may have ended the agent.
func (g *gateway) end(b *boot) {
	g.t.Helper()
	if err := b.off(); err != nil {
		g.t.Errorf("the agent ended: %v", err)
	}
}

func TestFirstBootMakesAnIdentityAndSendsWhatWasTakenBefore(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond, Offline: true}, func(g *gateway) {
		b := g.start(&power{}, nil)
		b.takeFor(30 * time.Minute) // no network yet: readings are taken in from the first second
		g.cloud.SetTemper(sim.Temper{Latency: 20 * time.Millisecond})
		b.takeFor(10 * time.Minute)
		g.end(b)
		if g.generation() != 1 || len(g.cloud.Received(gatewayID)) != len(g.promised) {
			t.Errorf("generation %d, %d of %d readings arrived", g.generation(), len(g.cloud.Received(gatewayID)), len(g.promised))
		}
	})
}

func TestAReadingGoesAgainUntilItIsAcknowledged(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond, LostAck: 7, DropSession: 11}, func(g *gateway) {
		b := g.start(&power{}, nil)
		b.takeFor(2 * time.Hour)
		g.cloud.SetTemper(sim.Temper{})
		time.Sleep(10 * time.Minute)
		for _, wrong := range g.audit() {
			t.Error(wrong)
		}
		if len(g.promised) != 120 {
			t.Errorf("%d readings promised", len(g.promised))
		}
		g.end(b)
		if len(g.cloud.Received(gatewayID)) <= 120 {
			t.Error("nothing arrived twice, though acknowledgements were lost: the temper did not strike")
		}
	})
}

func TestRenewalLosesNothingAndKeepsItsPace(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond, IssueDelay: 3 * time.Second}, func(g *gateway) {
		b := g.start(&power{}, nil)
		b.takeFor(24 * time.Hour)
		for _, wrong := range g.audit() {
			t.Error(wrong)
		}
		g.end(b)
		// A certificate of 40 minutes is renewed after two thirds and up to a tenth of that: 26.7 … 30.7 minutes, less
		// what it is backdated.
		if n := g.generation(); n < 24*60/31 || n > 24*60/22 {
			t.Errorf("%d generations in a day", n)
		}
		if n := g.cloud.Count(gatewayID, sim.Registering); n != 1 {
			t.Errorf("DPS was asked %d times: the hub renews", n)
		}
		if n := g.cloud.Count(gatewayID, sim.Refused); n != 0 {
			t.Errorf("the hub refused %d times", n)
		}
	})
}

func TestRefusedRenewalKeepsTheOldIdentity(t *testing.T) {
	refuse := func(p sim.Point, _ string, n int) error {
		if p == sim.AtConnect && n == 2 { // the proof of the second generation
			return &sim.Refusal{Code: 5}
		}
		return nil
	}
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond, Fault: refuse}, func(g *gateway) {
		b := g.start(&power{}, nil)
		g.until("the renewal is refused", 40*time.Minute, func() bool { return g.cloud.Count(gatewayID, sim.Refused) > 0 })
		time.Sleep(10 * time.Second)
		if g.generation() != 1 || !g.cloud.Online(gatewayID) {
			t.Errorf("generation %d is in force, connected %v", g.generation(), g.cloud.Online(gatewayID))
		}
		b.takeFor(2 * time.Hour)
		for _, wrong := range g.audit() {
			t.Error(wrong)
		}
		g.end(b)
		if g.generation() < 3 {
			t.Errorf("generation %d: the number of the refused one is given again, or nobody tried again", g.generation())
		}
	})
}

func TestPowerReturnsAndNobodyNotices(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		for range 12 {
			b := g.start(&power{}, nil)
			b.takeFor(7 * time.Minute)
			g.end(b)
		}
		b := g.start(&power{}, nil)
		time.Sleep(10 * time.Minute)
		for _, wrong := range g.audit() {
			t.Error(wrong)
		}
		g.end(b)
		if n := g.cloud.Count(gatewayID, sim.Registering); n != 1 {
			t.Errorf("DPS was asked %d times: an assignment is durable", n)
		}
	})
}

func TestFault10ACertificateThatDiedOfflineIsReplacedThroughDPS(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		b := g.start(&power{}, nil)
		b.takeFor(2 * time.Minute)
		g.cloud.SetTemper(sim.Temper{Offline: true})
		b.takeFor(5 * time.Hour)
		g.cloud.SetTemper(sim.Temper{})
		b.takeFor(2 * time.Hour)
		for _, wrong := range g.audit() {
			t.Error(wrong)
		}
		g.end(b)
	})
}

func TestFault52ARevokedDeviceComesBackThroughDPS(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		b := g.start(&power{}, nil)
		b.takeFor(2 * time.Minute)
		g.cloud.Revoke(gatewayID)
		g.cloud.Disconnect(gatewayID)
		b.takeFor(2 * time.Hour)
		for _, wrong := range g.audit() {
			t.Error(wrong)
		}
		g.end(b)
		if n := g.cloud.Count(gatewayID, sim.Registering); n != 2 {
			t.Errorf("DPS was asked %d times", n)
		}
	})
}

func TestFault18ADisabledDeviceKeepsItsReadingsAndDoesNotKnockForEver(t *testing.T) {
	inBubble(t, sim.Temper{Latency: 20 * time.Millisecond}, func(g *gateway) {
		g.cloud.SetPolicy(func(p *sim.Policy) { p.Life = 30 * 24 * time.Hour })
		b := g.start(&power{}, nil)
		b.takeFor(2 * time.Minute)
		g.cloud.DisableDevice(gatewayID)
		b.takeFor(24 * time.Hour)
		if n := g.cloud.Count(gatewayID, sim.Refused); n < 3 || n > 100 {
			t.Errorf("a disabled device knocked %d times in a day", n)
		}
		g.cloud.EnableDevice(gatewayID)
		b.takeFor(3 * time.Hour)
		if got := len(g.cloud.Received(gatewayID)); got != len(g.promised) || !g.cloud.Online(gatewayID) {
			t.Errorf("%d of %d readings arrived, connected %v", got, len(g.promised), g.cloud.Online(gatewayID))
		}
		if n := len(g.cloud.Issued(gatewayID)); n > 8 {
			t.Errorf("%d certificates were issued to a disabled device in a day", n)
		}
		g.end(b)
	})
}
