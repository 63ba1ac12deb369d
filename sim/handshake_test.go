package sim_test

import (
	"crypto/elliptic"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestOldCertificatesDie(t *testing.T) {
	for when, atIssue := range map[sim.OldCert]int{sim.OldCertLives: 0, sim.OldCertDiesAtIssue: 5, sim.OldCertDiesAtConnect: 0} {
		inBubble(t, sim.Temper{OldCert: when}, func(t *testing.T, cloud *sim.Cloud) {
			old := operational(t, cloud, "d")
			c := listening(t, cloud, old)
			key := newKey(t, elliptic.P256())
			c.request("rid-1", issueBody(t, "d", key))
			c.answer(202, "rid-1")
			done, _ := c.answer(200, "rid-1")
			if code := knock(t, cloud, old, hello{}); code != atIssue {
				t.Errorf("%d: old one after the issue: CONNACK %d, want %d", when, code, atIssue)
			}
			if code := knock(t, cloud, credential{key, parseChain(t, done.Certificates)}, hello{}); code != 0 {
				t.Errorf("%d: new one: CONNACK %d", when, code)
			}
			atConnect := 5
			if when == sim.OldCertLives {
				atConnect = 0
			}
			if code := knock(t, cloud, old, hello{}); code != atConnect {
				t.Errorf("%d: old one after the connect: CONNACK %d, want %d", when, code, atConnect)
			}
		})
	}
}

func TestRefusedInTheHandshakeIsAnAlert(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
			good := enrolled(t, cloud, sim.Temper{RefuseInHandshake: true})
			attempt := func(cert credential) error {
				c, err := wire(t, cloud, sim.HubHost, cert, func(c *tls.Config) { c.MaxVersion = version })
				if err == nil {
					c.conn.Write(hello{id: "d", user: hubUser("d", newHub)}.bytes())
					_, _, err = c.read()
				}
				return err
			}
			if err := attempt(good); err != nil {
				t.Errorf("good one: %v", err)
			}
			for name, cert := range map[string]credential{"foreign": foreign(t, "d"), "leaf alone": {good.key, good.chain[:1]}, "none": {}} {
				if err := attempt(cert); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
					t.Errorf("%s: %v", name, err)
				}
			}
			cloud.Revoke("d")
			if err := attempt(good); err == nil || !strings.Contains(err.Error(), "bad certificate") {
				t.Errorf("revoked: %v", err)
			}
			time.Sleep(31 * 24 * time.Hour)
			if err := attempt(good); err == nil || !strings.Contains(err.Error(), "expired") {
				t.Errorf("expired: %v", err)
			}
		})
	}
}

func TestTLS12Only(t *testing.T) {
	for _, only := range []bool{true, false} {
		inBubble(t, sim.Temper{TLS12Only: only}, func(t *testing.T, cloud *sim.Cloud) {
			c, err := wire(t, cloud, sim.HubHost, credential{})
			if err != nil {
				t.Fatal(err)
			}
			want := map[bool]uint16{true: tls.VersionTLS12, false: tls.VersionTLS13}[only]
			if got := c.conn.(*tls.Conn).ConnectionState().Version; got != want {
				t.Errorf("TLS12Only %v: %s", only, tls.VersionName(got))
			}
			if _, err := wire(t, cloud, sim.HubHost, credential{}, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11; c.MinVersion = tls.VersionTLS10 }); err == nil {
				t.Error("TLS 1.1 is spoken")
			}
		})
	}
}
