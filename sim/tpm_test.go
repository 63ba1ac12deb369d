package sim_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/elliptic"
	"fmt"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

func TestATPMRegistersByWhatItsKeysOpen(t *testing.T) {
	storage := newRSAKey(t)
	for name, c := range map[string]*chip{
		"RSA":              newChip(t, newRSAKey(t), storage),
		"ECC P-256":        newChip(t, newPoint(t, ecdh.P256()), newPoint(t, ecdh.P256())),
		"ECC P-384 on RSA": newChip(t, newPoint(t, ecdh.P384()), storage),
	} {
		inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
			c.t = t
			cloud.Enroll(sim.Enrollment{Registration: "gw-1", DeviceID: "Gateway-1", EndorsementKey: c.ek.public})
			b := browse(t, cloud, sim.DPSHost, credential{})
			key := c.challenged(b, "gw-1", "2019-03-31")
			if n := cloud.Refusals("gw-1"); n != 0 {
				t.Errorf("%s: a challenge counts as %d refusals", name, n)
			}
			signed := b.with("Authorization", token(sim.IDScope+"/registrations/gw-1", "registration", key))
			r, _ := signed.register("gw-1", "2019-03-31", c.body("gw-1", ""))
			var answer struct {
				RegistrationState struct {
					DeviceID string
					TPM      struct{ AuthenticationKey []byte }
				}
			}
			if r.into(t, &answer); r.status != 200 || answer.RegistrationState.DeviceID != "Gateway-1" {
				t.Fatalf("%s: %d %s", name, r.status, r.body)
			}
			hub := c.activate(answer.RegistrationState.TPM.AuthenticationKey)
			if bytes.Equal(hub, key) {
				t.Errorf("%s: one key for both", name)
			}
			for key, code := range map[string]int{string(hub): 0, string(key): 5} {
				if got := knock(t, cloud, credential{}, hello{id: "Gateway-1", password: token(sim.HubHost+"/devices/Gateway-1", "", []byte(key))}); got != code {
					t.Errorf("%s: CONNACK %d, want %d: %s", name, got, code, reason(cloud))
				}
			}
			r = signed.want(200, "POST", "/"+sim.IDScope+"/registrations/gw-1?api-version=2019-03-31", `{"registrationId":"gw-1"}`)
			if strings.Contains(r.body, "authenticationKey") {
				t.Errorf("%s: the lookup tells the key: %s", name, r.body)
			}
		})
	}
}

func TestATPMThatIsNotTheEnrolledOneGetsNoChallenge(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		storage := newPoint(t, ecdh.P256())
		good, other := newChip(t, newPoint(t, ecdh.P256()), storage), newChip(t, newPoint(t, ecdh.P256()), storage)
		cloud.Enroll(sim.Enrollment{Registration: "d", EndorsementKey: good.ek.public})
		cloud.Enroll(sim.Enrollment{Registration: "keyed", SymmetricKey: []byte("a key of thirty-two bytes, really")})
		b := browse(t, cloud, sim.DPSHost, credential{})
		put := func(id, body string) reply {
			return b.do("PUT", "/"+sim.IDScope+"/registrations/"+id+"/register?api-version=2019-03-31", body)
		}
		for name, c := range map[string]struct {
			id, body string
			status   int
		}{
			"another TPM":        {"d", other.body("d", ""), 401},
			"nobody's":           {"e", good.body("e", ""), 404},
			"enrolled by key":    {"keyed", good.body("keyed", ""), 404},
			"no endorsement key": {"d", `{"registrationId":"d","tpm":{}}`, 401},
			"not base64":         {"d", `{"registrationId":"d","tpm":{"endorsementKey":"!","storageRootKey":""}}`, 400},
			"no root key":        {"d", fmt.Sprintf(`{"registrationId":"d","tpm":{"endorsementKey":%q}}`, encode64(good.ek.public)), 400},
			"cut root key":       {"d", fmt.Sprintf(`{"registrationId":"d","tpm":{"endorsementKey":%q,"storageRootKey":%q}}`, encode64(good.ek.public), encode64(good.srk.public[:40])), 400},
			"no TPM, no token":   {"d", `{"registrationId":"d"}`, 401},
		} {
			if r := put(c.id, c.body); r.status != c.status || strings.Contains(r.body, "authenticationKey") {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		// a token before the challenge, and one of another chip's key
		key := []byte("whatever")
		for range 2 {
			r := b.with("Authorization", token(sim.IDScope+"/registrations/d", "registration", key)).do("PUT", "/"+sim.IDScope+"/registrations/d/register?api-version=2019-03-31", good.body("d", ""))
			if r.status != 401 || strings.Contains(r.body, "authenticationKey") {
				t.Errorf("%d %s", r.status, r.body)
			}
			good.t = t
			good.challenged(b, "d", "2019-03-31")
		}
	})
}

func TestATPMWithACSRGetsACertificate(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := newChip(t, newPoint(t, ecdh.P256()), newPoint(t, ecdh.P256()))
		cloud.Enroll(sim.Enrollment{Registration: "d", EndorsementKey: c.ek.public})
		b := browse(t, cloud, sim.DPSHost, credential{})
		signed := b.with("Authorization", token(sim.IDScope+"/registrations/d", "registration", c.challenged(b, "d", newDPS)))
		key := newKey(t, elliptic.P384())
		_, op := signed.register("d", newDPS, c.body("d", fmt.Sprintf(`,"csr":%q`, csr(t, "d", key))))
		atHub(t, cloud, "d", credential{key, parseChain(t, op.RegistrationState.Chain)})
	})
}

func TestATPMCannotRegisterByMQTT(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := newChip(t, newPoint(t, ecdh.P256()), newPoint(t, ecdh.P256()))
		cloud.Enroll(sim.Enrollment{Registration: "d", EndorsementKey: c.ek.public})
		w, err := wire(t, cloud, sim.DPSHost, bootstrap(t, cloud, "d"))
		if err != nil {
			t.Fatal(err)
		}
		if code := w.hello(hello{id: "d", user: dpsUser("d", "2019-03-31")}); code != 5 {
			t.Errorf("CONNACK %d", code)
		}
	})
}
