package sim_test

import (
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

// What Azure's documentation leaves open is a switch.
func TestSwitchesForWhatIsNotDocumented(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		group := []byte("the group's key, also thirty-two")
		cloud.Enroll(sim.Enrollment{Group: "line", SymmetricKey: group})
		atDPSWith := func(id, version string, key []byte) int {
			c, err := wire(t, cloud, sim.DPSHost, credential{})
			if err != nil {
				t.Fatal(err)
			}
			return c.hello(hello{id: id, user: dpsUser(id, version), password: token(sim.IDScope+"/registrations/"+id, "registration", key)})
		}
		for _, lower := range []bool{false, true} {
			cloud.SetPolicy(func(p *sim.Policy) { p.LowerCaseKeys = lower })
			for derived, want := range map[string]bool{"GW-1": !lower, "gw-1": lower} {
				if code := atDPSWith("GW-1", "2019-03-31", sim.DerivedKey(group, derived)); (code == 0) != want {
					t.Errorf("lower case %t, derived from %s: CONNACK %d", lower, derived, code)
				}
			}
		}
		for _, any := range []bool{false, true} {
			cloud.SetPolicy(func(p *sim.Policy) { p.AnyVersion = any })
			if code := atDPSWith("gw-1", "2030-01-01", sim.DerivedKey(group, "gw-1")); (code == 0) != any {
				t.Errorf("any version %t: CONNACK %d", any, code)
			}
		}
		cloud.CreateDevice("d", sim.Auth{Keys: [][]byte{group}})
		for _, taken := range []bool{false, true} {
			cloud.SetPolicy(func(p *sim.Policy) { p.PolicyTokens = taken })
			for policy, right := range map[string]bool{"device": true, "service": false} {
				signed := browse(t, cloud, sim.HubHost, credential{}).ofPolicy(cloud.HubPolicy(policy))
				if code := knock(t, cloud, credential{}, hello{password: signed.header.Get("Authorization")}); (code == 0) != (taken && right) {
					t.Errorf("policy %s, taken %t: CONNACK %d", policy, taken, code)
				}
			}
		}
		cloud.SetPolicy(func(p *sim.Policy) { p.LeafOnly = true })
		request := "-----BEGIN CERTIFICATE REQUEST-----\n" + csr(t, "p", newKey(t, elliptic.P256())) + "\n-----END CERTIFICATE REQUEST-----\n"
		raw, _ := atDPS(t, cloud, "p", "2021-11-01-preview", bootstrap(t, cloud, "p")).enroll(fmt.Sprintf(`{"clientCertificateCsr":%q}`, request))
		var answer struct {
			RegistrationState struct{ IssuedClientCertificate string }
		}
		if err := json.Unmarshal([]byte(raw), &answer); err != nil || strings.Count(answer.RegistrationState.IssuedClientCertificate, "BEGIN") != 1 {
			t.Errorf("%v %s", err, raw)
		}
	})
}

func TestRefusedRequestsForCertificatesAreCounted(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := listening(t, cloud, operational(t, cloud, "d"))
		c.request("rid-1", `{`)
		c.answer(400, "rid-1")
		c.request("rid-2", fmt.Sprintf(`{"id":"d","csr":%q}`, encode64([]byte("not a request"))))
		c.answer(202, "rid-2")
		c.answer(400, "rid-2")
		if n, all := cloud.Refusals("d", sim.AtIssue), cloud.Refusals(""); n != 2 || all != 2 {
			t.Errorf("%d of %d refusals", n, all)
		}
	})
}

func TestProgramsNeedNoCertificateWhereOthersAreRefusedInTheHandshake(t *testing.T) {
	inBubble(t, sim.Temper{RefuseInHandshake: true}, func(t *testing.T, cloud *sim.Cloud) {
		browse(t, cloud, sim.HubHost, credential{}).ofPolicy(cloud.HubConnectionString()).want(200, "GET", "/devices"+registryVersion, "")
		if _, err := browse(t, cloud, sim.DPSHost, foreign(t, "d")).try("POST", "/"+sim.IDScope+"/registrations/d?api-version=2019-03-31", `{}`); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
			t.Errorf("a foreign certificate: %v", err)
		}
	})
}

func TestRegistrationsThatEndOtherwise(t *testing.T) {
	inBubble(t, sim.Temper{AtOnce: true}, func(t *testing.T, cloud *sim.Cloud) {
		c := atDPS(t, cloud, "d", "2019-03-31", bootstrap(t, cloud, "d"))
		if status, _, op, raw := c.register(""); status != 200 || op.Status != "assigned" || op.RegistrationState.DeviceID != "d" {
			t.Errorf("at once: %d %s", status, raw)
		}
		cloud.SetTemper(sim.Temper{EndsAs: "unassigned"})
		if raw, s := c.enroll(""); s.Status != "unassigned" || s.AssignedHub != "" {
			t.Errorf("%s", raw)
		}
	})
}
