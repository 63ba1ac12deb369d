package sim_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// knock tries to connect and returns the CONNACK code.
func knock(t *testing.T, cloud *sim.Cloud, cert credential, h hello) int {
	t.Helper()
	if h.id == "" {
		h.id = "d"
	}
	if h.user == "" {
		h.user = hubUser(h.id, newHub)
	}
	c, err := wire(t, cloud, sim.HubHost, cert)
	if err != nil {
		t.Fatal(err)
	}
	return c.hello(h)
}

func TestHubRefusesAtConnect(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		good, other := operational(t, cloud, "d"), operational(t, cloud, "other")
		operational(t, cloud, "D")
		for _, c := range []struct {
			name string
			cert credential
			h    hello
			code int
			why  string
		}{
			{"no certificate", credential{}, hello{}, 5, "no client certificate"},
			{"another device's", other, hello{}, 5, `certificate is for "other"`},
			{"case of the name", good, hello{id: "D"}, 5, `certificate is for "d"`},
			{"leaf alone", credential{good.key, good.chain[:1]}, hello{}, 5, "unknown authority"},
			{"foreign CA", foreign(t, "d"), hello{}, 5, "unknown authority"},
			{"bootstrap certificate", bootstrap(t, cloud, "d"), hello{}, 5, "unknown authority"},
			{"unknown device", good, hello{id: "nobody"}, 5, "not registered"},
			{"no question mark", good, hello{user: sim.HubHost + "/d/api-version=" + newHub}, 4, "user name"},
			{"no version", good, hello{user: sim.HubHost + "/d/?x=y"}, 4, "no api-version"},
			{"other hub", good, hello{user: "x.azure-devices.net/d/?api-version=" + newHub}, 5, "this is not"},
			{"client ID", good, hello{id: "e", user: hubUser("d", newHub)}, 5, "client ID"},
			{"level 5", good, hello{level: 5}, 1, "3.1.1"},
			{"chain with root", good, hello{}, 0, ""},
			{"chain without root", credential{good.key, good.chain[:2]}, hello{}, 0, ""},
			{"model ID", good, hello{user: hubUser("d", newHub) + "&model-id=dtmi:com:example:Thermostat;1"}, 0, ""},
		} {
			if code := knock(t, cloud, c.cert, c.h); code != c.code {
				t.Errorf("%s: CONNACK %d, want %d", c.name, code, c.code)
			}
			if c.code != 0 {
				wantReason(t, cloud, c.why)
			}
		}
		time.Sleep(31 * 24 * time.Hour)
		if code := knock(t, cloud, good, hello{}); code != 5 {
			t.Errorf("expired: CONNACK %d", code)
		}
		wantReason(t, cloud, "expired")
	})
}

func TestRevokeKillsTheCertificatesSoFarAndNoOther(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		old := operational(t, cloud, "d")
		cloud.Revoke("d")
		if code := knock(t, cloud, old, hello{}); code != 5 {
			t.Errorf("revoked: CONNACK %d", code)
		}
		wantReason(t, cloud, "revoked")
		if code := knock(t, cloud, operational(t, cloud, "d"), hello{}); code != 0 {
			t.Errorf("new one: CONNACK %d", code)
		}
		if n := len(cloud.Issued("d")); n != 2 {
			t.Errorf("issued %d", n)
		}
	})
}

func TestThumbprintsAndCAsRegisteredByHand(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		own := foreign(t, "d")
		sum := sha256.Sum256(own.chain[0].Raw)
		cloud.CreateDevice("d", sim.Auth{Thumbprints: []string{strings.ToUpper(hex.EncodeToString(sum[:]))}})
		if code := knock(t, cloud, credential{own.key, own.chain[:1]}, hello{}); code != 0 {
			t.Errorf("thumbprint: CONNACK %d", code)
		}
		if code := knock(t, cloud, foreign(t, "d"), hello{}); code != 5 {
			t.Errorf("another thumbprint: CONNACK %d", code)
		}
		cloud.CreateDevice("d", sim.Auth{CA: own.chain[2]})
		if code := knock(t, cloud, own, hello{}); code != 0 {
			t.Errorf("CA: CONNACK %d", code)
		}
		cloud.CreateDevice("d", sim.Auth{Thumbprints: []string{hex.EncodeToString(sum[:])}})
		time.Sleep(25 * time.Hour)
		if code := knock(t, cloud, own, hello{}); code != 5 {
			t.Errorf("thumbprint of an expired one: CONNACK %d", code)
		}
	})
}

func TestANewerSessionEndsTheOlder(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		old := atHub(t, cloud, "d", cert)
		fresh := atHub(t, cloud, "d", cert)
		old.closed()
		fresh.send(frame(0xc0))
		fresh.want(0xd0)
		if !cloud.Online("d") {
			t.Error("the older session took the newer with it")
		}
	})
}

func TestDisabledWhileConnectedIsDroppedWithoutAPacket(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cert := operational(t, cloud, "d")
		c := atHub(t, cloud, "d", cert)
		cloud.DisableDevice("d")
		if said := c.closed(); len(said) != 0 || cloud.Online("d") {
			t.Errorf("said %x", said)
		}
		if code := knock(t, cloud, cert, hello{}); code != 5 {
			t.Errorf("CONNACK %d", code)
		}
		cloud.EnableDevice("d")
		c = atHub(t, cloud, "d", cert)
		cloud.DeleteDevice("d")
		c.closed()
		if code := knock(t, cloud, cert, hello{}); code != 5 {
			t.Errorf("CONNACK %d", code)
		}
	})
}
