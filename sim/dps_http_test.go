package sim_test

import (
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

func TestACertificateRegistersOverHTTPS(t *testing.T) {
	inBubble(t, sim.Temper{Assigning: 4 * time.Second}, func(t *testing.T, cloud *sim.Cloud) {
		b := browse(t, cloud, sim.DPSHost, bootstrap(t, cloud, "dev-1"))
		key := newKey(t, elliptic.P384())
		path := "/" + sim.IDScope + "/registrations/dev-1"
		body := fmt.Sprintf(`{"registrationId":"dev-1","csr":%q,"payload":{"line":7}}`, csr(t, "dev-1", key))
		r := b.want(202, "PUT", path+"/register?api-version="+newDPS, body)
		if r.header.Get("Location") != "https://"+sim.DPSHost+path+"/register" || r.header.Get("Retry-After") != "3" ||
			r.header.Get("x-ms-request-id") == "" || r.header.Get("Strict-Transport-Security") == "" {
			t.Errorf("header %v", r.header)
		}
		r, op := b.register("dev-1", newDPS, body)
		if r.status != 200 || op.Status != "assigned" || op.RegistrationState.AssignedHub != sim.HubHost {
			t.Fatalf("%d %s", r.status, r.body)
		}
		atHub(t, cloud, "dev-1", credential{key, parseChain(t, op.RegistrationState.Chain)})
		asked, ok := cloud.LastRegistration("DEV-1")
		if !ok || asked.Transport != "https" || asked.Attestation != "x509" || string(asked.Payload) != `{"line":7}` || !asked.CSR {
			t.Errorf("%+v", asked)
		}
		r = b.want(200, "POST", path+"?api-version="+newDPS, `{"registrationId":"dev-1"}`)
		if !strings.Contains(r.body, `"deviceId":"dev-1"`) || strings.Contains(r.body, "issuedCertificateChain") {
			t.Errorf("lookup: %s", r.body)
		}
		b.want(400, "POST", path+"?api-version="+newDPS, body)
	})
}

func TestWhatTheDPSRefusesOverHTTPS(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cloud.DisableEnrollment("off")
		good := bootstrap(t, cloud, "d")
		path := "/" + sim.IDScope + "/registrations/d"
		register, body := path+"/register?api-version=2019-03-31", `{"registrationId":"d"}`
		for name, c := range map[string]struct {
			cert               credential
			method, path, body string
			status             int
		}{
			"no api-version":     {good, "PUT", path + "/register", body, 400},
			"unknown version":    {good, "PUT", path + "/register?api-version=2020-01-01", body, 400},
			"other scope":        {good, "PUT", "/0ne00X/registrations/d/register?api-version=2019-03-31", body, 404},
			"no such operation":  {good, "GET", path + "/operations/4.1.2?api-version=2019-03-31", "", 404},
			"no such path":       {good, "PUT", path + "/enroll?api-version=2019-03-31", body, 404},
			"method":             {good, "POST", register, body, 405},
			"no certificate":     {credential{}, "PUT", register, body, 401},
			"another's":          {bootstrap(t, cloud, "e"), "PUT", register, body, 401},
			"leaf alone":         {credential{good.key, good.chain[:1]}, "PUT", register, body, 401},
			"foreign":            {foreign(t, "d"), "PUT", register, body, 401},
			"no ID":              {good, "PUT", register, `{}`, 400},
			"another ID":         {good, "PUT", register, `{"registrationId":"e"}`, 400},
			"empty":              {good, "PUT", register, "", 400},
			"payload is a list":  {good, "PUT", register, `{"registrationId":"d","payload":[]}`, 400},
			"never registered":   {good, "POST", path + "?api-version=2019-03-31", body, 404},
			"more than 96 KB":    {good, "PUT", register, `{"registrationId":"d","payload":{"x":"` + strings.Repeat("x", 96<<10) + `"}}`, 400},
			"poll without proof": {credential{}, "GET", path + "/operations/4.1.2?api-version=2019-03-31", "", 401},
		} {
			r := browse(t, cloud, sim.DPSHost, c.cert).do(c.method, c.path, c.body)
			var op operation
			r.into(t, &op)
			if r.status != c.status || op.ErrorCode/1000 != c.status || r.header.Get("x-ms-error-code") != fmt.Sprint(op.ErrorCode) || op.TrackingID == "" {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		if r := browse(t, cloud, sim.DPSHost, good).with("Content-Type", "text/plain").do("PUT", register, body); r.status != 415 {
			t.Errorf("content type: %d", r.status)
		}
		off, op := browse(t, cloud, sim.DPSHost, bootstrap(t, cloud, "off")).register("off", "2019-03-31", `{"registrationId":"off"}`)
		if off.status != 200 || op.Status != "disabled" {
			t.Errorf("disabled: %d %s", off.status, off.body)
		}
		if n := cloud.Refusals("off"); n != 1 {
			t.Errorf("%d refusals of the disabled device", n)
		}
		if all := cloud.Refusals("d", sim.AtRegister, sim.AtPoll, sim.AtLookup); all != 16 {
			t.Errorf("%d refusals: what has a path and a method is counted", all)
		}
	})
}

func TestTheWeatherOverHTTPS(t *testing.T) {
	inBubble(t, sim.Temper{Throttle: 1, Broken: 1, ThrottleWait: 1500 * time.Millisecond}, func(t *testing.T, cloud *sim.Cloud) {
		b := browse(t, cloud, sim.DPSHost, bootstrap(t, cloud, "d"))
		path := "/" + sim.IDScope + "/registrations/d/register?api-version=2019-03-31"
		if r := b.want(429, "PUT", path, `{"registrationId":"d"}`); r.header.Get("Retry-After") != "2" || r.header.Get("x-ms-error-code") != "429001" {
			t.Errorf("%v", r.header)
		}
		b.want(500, "PUT", path, `{"registrationId":"d"}`)
		b.want(202, "PUT", path, `{"registrationId":"d"}`)
		if n := cloud.Refusals("d", sim.AtRegister); n != 2 {
			t.Errorf("%d refusals", n)
		}
		cloud.SetTemper(sim.Temper{Fault: func(sim.Point, string, int) error { return sim.ErrDrop }})
		if _, err := b.try("PUT", path, `{"registrationId":"d"}`); err == nil {
			t.Error("the connection outlived a drop")
		}
		cloud.SetTemper(sim.Temper{Fault: func(sim.Point, string, int) error { return sim.ErrSilent }})
		b.client.Timeout = time.Hour
		var slow interface{ Timeout() bool }
		if _, err := b.try("PUT", path, `{"registrationId":"d"}`); !errors.As(err, &slow) || !slow.Timeout() {
			t.Errorf("silence: %v", err)
		}
		cloud.SetTemper(sim.Temper{NoPollLimit: false})
		for range 5 {
			b.want(404, "GET", "/"+sim.IDScope+"/registrations/d/operations/4.1.2?api-version=2019-03-31", "")
		}
		b.want(429, "GET", "/"+sim.IDScope+"/registrations/d/operations/4.1.2?api-version=2019-03-31", "")
	})
}

func TestSymmetricKeysRegisterByEveryTransport(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		own, group := []byte("an own key of thirty-two bytes.."), []byte("the group's key, also thirty-two")
		cloud.Enroll(sim.Enrollment{Registration: "solo", SymmetricKey: own, SecondaryKey: []byte("the second")})
		cloud.Enroll(sim.Enrollment{Group: "line", SymmetricKey: group})
		h := hmac.New(sha256.New, group)
		h.Write([]byte("gw-1"))
		for id, key := range map[string][]byte{"solo": own, "gw-1": h.Sum(nil)} {
			resource := sim.IDScope + "/registrations/" + id
			good := token(resource, "registration", key)
			c, err := wire(t, cloud, sim.DPSHost, credential{})
			if err != nil {
				t.Fatal(err)
			}
			if code := c.hello(hello{id: id, user: dpsUser(id, "2019-03-31"), password: good}); code != 0 {
				t.Fatalf("%s by MQTT: %d %s", id, code, reason(cloud))
			}
			c.subscribe(1, "$dps/registrations/res/#", 1)
			c.want(0x90, 0, 1, 1)
			raw, s := c.enroll("")
			if s.Status != "assigned" || !strings.Contains(raw, `"symmetricKey":{`) {
				t.Errorf("%s by MQTT: %s", id, raw)
			}
			r, op := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", good).register(id, "2019-03-31", `{"registrationId":"`+id+`"}`)
			if r.status != 200 || op.Status != "assigned" {
				t.Errorf("%s by HTTPS: %d %s", id, r.status, r.body)
			}
			hub := token(sim.HubHost+"/devices/"+id, "", key)
			if code := knock(t, cloud, credential{}, hello{id: id, password: hub}); code != 0 {
				t.Errorf("%s at the hub: %d %s", id, code, reason(cloud))
			}
			for name, bad := range map[string]string{
				"other key":      token(resource, "registration", []byte("wrong")),
				"other device":   token(resource+"x", "registration", key),
				"no key name":    token(resource, "", key),
				"expired":        tokenUntil(resource, "registration", key, time.Now()),
				"not a token":    "secret",
				"the hub's":      hub,
				"the group's":    token(resource, "registration", group),
				"a device's key": token(resource, "registration", h.Sum([]byte("x"))),
			} {
				c, err := wire(t, cloud, sim.DPSHost, credential{})
				if err != nil {
					t.Fatal(err)
				}
				if code := c.hello(hello{id: id, user: dpsUser(id, "2019-03-31"), password: bad}); code != 5 {
					t.Errorf("%s, %s, by MQTT: CONNACK %d", id, name, code)
				}
				b := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", bad)
				b.want(401, "PUT", "/"+resource+"/register?api-version=2019-03-31", `{"registrationId":"`+id+`"}`)
			}
			if n := cloud.Refusals(id); n != 16 {
				t.Errorf("%s was refused %d times", id, n)
			}
		}
		if asked, _ := cloud.LastRegistration("gw-1"); asked.Attestation != "symmetricKey" {
			t.Errorf("%+v", asked)
		}
	})
}

func TestAKeyWithACSRLeadsToACertificateAtTheHub(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		own := []byte("an own key of thirty-two bytes..")
		cloud.Enroll(sim.Enrollment{Registration: "d", SymmetricKey: own, Payload: []byte(`{"site":"north"}`)})
		key := newKey(t, elliptic.P384())
		b := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", token(sim.IDScope+"/registrations/d", "registration", own))
		r, op := b.register("d", newDPS, fmt.Sprintf(`{"registrationId":"d","csr":%q}`, csr(t, "d", key)))
		if r.status != 200 || !strings.Contains(r.body, `"payload":{"site":"north"}`) {
			t.Fatalf("%d %s", r.status, r.body)
		}
		atHub(t, cloud, "d", credential{key, parseChain(t, op.RegistrationState.Chain)})
		if code := knock(t, cloud, credential{}, hello{password: token(sim.HubHost+"/devices/d", "", own)}); code != 5 {
			t.Errorf("the key opens the hub, too: %d", code)
		}
	})
}

func TestADisabledEnrollmentGoesBeforeTheGroupOfItsKey(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		group := []byte("the group's key, also thirty-two")
		cloud.Enroll(sim.Enrollment{SymmetricKey: group})
		cloud.DisableEnrollment("d")
		b := browse(t, cloud, sim.DPSHost, credential{}).with("Authorization", token(sim.IDScope+"/registrations/d", "registration", sim.DerivedKey(group, "d")))
		if r, op := b.register("d", "2019-03-31", `{"registrationId":"d"}`); op.Status != "disabled" {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
}

func TestTheAbandonedPreviewHasItsOwnShape(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		key := newKey(t, elliptic.P256())
		request := "-----BEGIN CERTIFICATE REQUEST-----\n" + csr(t, "d", key) + "\n-----END CERTIFICATE REQUEST-----\n"
		raw, _ := atDPS(t, cloud, "d", "2021-11-01-preview", bootstrap(t, cloud, "d")).enroll(fmt.Sprintf(`{"clientCertificateCsr":%q}`, request))
		var answer struct {
			RegistrationState struct {
				IssuedClientCertificate string
				IssuedCertificateChain  []string
				TrustBundle             struct {
					Certificates []struct{ Certificate string }
				}
			}
		}
		reply{body: raw}.into(t, &answer)
		s := answer.RegistrationState
		block, _ := pem.Decode([]byte(s.IssuedClientCertificate))
		if block == nil || s.IssuedCertificateChain != nil || len(s.TrustBundle.Certificates) != 1 || !contains(cloud.RootsPEM(), s.TrustBundle.Certificates[0].Certificate) {
			t.Fatalf("%s", raw)
		}
		var chain []string
		for rest := []byte(s.IssuedClientCertificate); ; {
			var one *pem.Block
			if one, rest = pem.Decode(rest); one == nil {
				break
			}
			chain = append(chain, encode64(one.Bytes))
		}
		atHub(t, cloud, "d", credential{key, parseChain(t, chain)})
	})
}

func TestAConnectionProfileIsToldFromItsVersionOn(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cloud.SetPolicy(func(p *sim.Policy) { p.ConnectionProfile = "mqttV5" })
		for version, want := range map[string]bool{"2026-11-01": false, "2026-11-02-preview": true} {
			raw, _ := atDPS(t, cloud, "d", version, bootstrap(t, cloud, "d")).enroll("")
			if strings.Contains(raw, `"connectionProfile":"mqttV5"`) != want {
				t.Errorf("%s: %s", version, raw)
			}
		}
		c, err := wire(t, cloud, sim.DPSHost, bootstrap(t, cloud, "d"))
		if err != nil {
			t.Fatal(err)
		}
		if code := c.hello(hello{id: "d", user: dpsUser("d", "2024-01-01")}); code != 5 {
			t.Errorf("a version that is none: %d", code)
		}
	})
}
