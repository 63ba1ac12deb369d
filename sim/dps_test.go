package sim_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

type state struct {
	RegistrationID, AssignedHub, DeviceID, Status, Substatus, ErrorMessage, CreatedDateTimeUTC string
	ErrorCode                                                                                  int
	Chain                                                                                      []string `json:"issuedCertificateChain"`
}

type operation struct {
	OperationID, Status, Message, TimestampUTC, TrackingID string
	ErrorCode                                              int
	RegistrationState                                      *state
}

var answerForm = regexp.MustCompile(`^\$dps/registrations/res/(\d+)/\?\$rid=([^&]+)(?:&retry-after=(\d+))?$`)

// ask publishes a request and returns the answer.
func (c *client) ask(topic, body string) (status, retry int, op operation, raw string) {
	c.t.Helper()
	c.publish(1, 7, topic, body)
	c.want(0x40, 0, 7)
	answer, text, err := c.message()
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	m := answerForm.FindStringSubmatch(answer)
	if m == nil {
		c.t.Fatalf("topic %s", answer)
	}
	status, _ = strconv.Atoi(m[1])
	retry, _ = strconv.Atoi(m[3])
	if err := json.Unmarshal([]byte(text), &op); err != nil {
		c.t.Fatal(err)
	}
	return status, retry, op, text
}

func (c *client) register(body string) (int, int, operation, string) {
	return c.ask("$dps/registrations/PUT/iotdps-register/?$rid=r-1", body)
}

func (c *client) poll(id string) (int, int, operation, string) {
	return c.ask("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=r-2&operationId="+id, " ")
}

// enroll registers, and polls as it is told to until the end.
func (c *client) enroll(body string) (raw string, s state) {
	c.t.Helper()
	status, retry, op, raw := c.register(body)
	for status == 202 {
		time.Sleep(time.Duration(retry) * time.Second)
		status, retry, op, raw = c.poll(op.OperationID)
	}
	if op.RegistrationState == nil {
		c.t.Fatalf("%d %s", status, raw)
	}
	return raw, *op.RegistrationState
}

func TestRegistrationGoesAssigningThenAssignedWithAChainOfThree(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atDPS(t, cloud, "dev-1", newDPS, bootstrap(t, cloud, "dev-1"))
		key := newKey(t, elliptic.P256())
		status, retry, op, _ := c.register(fmt.Sprintf(`{"csr":%q}`, csr(t, "dev-1", key)))
		if status != 202 || retry < 1 || op.Status != "assigning" || !regexp.MustCompile(`^4\.[0-9a-f]{16}\.[0-9a-f-]{36}$`).MatchString(op.OperationID) {
			t.Fatalf("%d %d %+v", status, retry, op)
		}
		time.Sleep(time.Second)
		status, retry, again, _ := c.poll(op.OperationID)
		if status != 202 || retry < 1 || again.RegistrationState == nil || again.RegistrationState.RegistrationID != "dev-1" {
			t.Fatalf("first poll: %d %+v", status, again)
		}
		time.Sleep(time.Second)
		status, _, end, _ := c.poll(op.OperationID)
		s := end.RegistrationState
		if status != 200 || end.Status != "assigned" || s.AssignedHub != sim.HubHost || s.DeviceID != "dev-1" || s.Substatus != "initialAssignment" {
			t.Fatalf("%d %+v %+v", status, end, s)
		}
		if !regexp.MustCompile(`\.\d{7}Z$`).MatchString(s.CreatedDateTimeUTC) {
			t.Errorf("time %s", s.CreatedDateTimeUTC)
		}
		chain := parseChain(t, s.Chain)
		leaf := chain[0]
		if len(chain) != 3 || leaf.CheckSignatureFrom(chain[1]) != nil || chain[1].CheckSignatureFrom(chain[2]) != nil {
			t.Fatalf("a chain of %d", len(chain))
		}
		if !key.PublicKey.Equal(leaf.PublicKey) || leaf.Subject.CommonName != "dev-1" || leaf.IsCA ||
			leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
			t.Errorf("leaf %+v", leaf.Subject)
		}
		if back := time.Since(leaf.NotBefore); back < 5*time.Minute || back > 6*time.Minute {
			t.Errorf("begins %v back", back)
		}
		atHub(t, cloud, "dev-1", credential{key, chain[:2]})
	})
}

func TestAShortLivedCertificateIsBackdatedByATenthAtMost(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cloud.SetPolicy(func(p *sim.Policy) { p.Life = time.Minute })
		leaf := operational(t, cloud, "d").chain[0]
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life < 65*time.Second || life > 67*time.Second {
			t.Errorf("life %v", life)
		}
	})
}

func TestWithoutCSRTheBootstrapCertificateWorksAtTheHub(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		boot := bootstrap(t, cloud, "Dev")
		raw, s := atDPS(t, cloud, "dev", "2019-03-31", boot).enroll("")
		if strings.Contains(raw, "issuedCertificateChain") || s.DeviceID != "dev" {
			t.Errorf("answer %s", raw)
		}
		boot = bootstrap(t, cloud, "dev")
		atHub(t, cloud, "dev", boot)
		operational(t, cloud, "dev")
		c, err := wire(t, cloud, sim.HubHost, boot)
		if err != nil {
			t.Fatal(err)
		}
		if code := c.hello(hello{id: "dev", user: hubUser("dev", newHub)}); code != 5 {
			t.Errorf("after an issue the onboarding credential is for the DPS only: CONNACK %d", code)
		}
	})
}

func TestAnOldAPIVersionIgnoresTheCSR(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atDPS(t, cloud, "dev", "2021-06-01", bootstrap(t, cloud, "dev"))
		if raw, _ := c.enroll(fmt.Sprintf(`{"csr":%q}`, csr(t, "dev", newKey(t, elliptic.P256())))); strings.Contains(raw, "issuedCertificateChain") {
			t.Error(raw)
		}
	})
}

func TestDPSRefusesAtConnect(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		good, other := bootstrap(t, cloud, "dev"), bootstrap(t, cloud, "other")
		leafOnly := credential{good.key, good.chain[:1]}
		strange := foreign(t, "dev")
		short := good
		short.chain, _ = cloud.Bootstrap("dev", good.key.Public(), time.Minute)
		time.Sleep(2 * time.Minute)
		for _, c := range []struct {
			name string
			cert credential
			h    hello
			code int
			why  string
		}{
			{"no certificate", credential{}, hello{}, 5, "no client certificate"},
			{"another device's", other, hello{}, 5, `certificate is for "other"`},
			{"leaf alone", leafOnly, hello{}, 5, "unknown authority"},
			{"foreign CA", strange, hello{}, 5, "unknown authority"},
			{"expired", short, hello{}, 5, "expired"},
			{"question mark", good, hello{user: sim.IDScope + "/registrations/dev/?api-version=" + newDPS}, 4, "user name"},
			{"wrong scope", good, hello{user: "0neX/registrations/dev/api-version=" + newDPS}, 5, "scope"},
			{"no version", good, hello{user: sim.IDScope + "/registrations/dev/api-version=soon"}, 4, "api-version"},
			{"client ID", good, hello{id: "dev2"}, 5, "client ID"},
			{"level 3", good, hello{level: 3}, 1, "3.1.1"},
			{"level 5", good, hello{level: 5}, 1, "3.1.1"},
			{"will", good, hello{flags: 0x86, afterwards: append(str("t"), str("b")...)}, 5, "will"},
			{"case of the name", good, hello{id: "DEV", user: dpsUser("DEV", newDPS)}, 0, ""},
		} {
			if c.h.id == "" {
				c.h.id = "dev"
			}
			if c.h.user == "" {
				c.h.user = dpsUser("dev", newDPS)
			}
			k, err := wire(t, cloud, sim.DPSHost, c.cert)
			if err != nil {
				t.Fatal(err)
			}
			if code := k.hello(c.h); code != c.code {
				t.Errorf("%s: CONNACK %d, want %d", c.name, code, c.code)
			}
			if c.code != 0 {
				k.closed()
				wantReason(t, cloud, c.why)
			}
		}
	})
}

func TestAnEmptyClientIDIsRefused(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c, err := wire(t, cloud, sim.DPSHost, bootstrap(t, cloud, "d"))
		if err != nil {
			t.Fatal(err)
		}
		if code := c.hello(hello{user: dpsUser("d", newDPS)}); code != 2 {
			t.Errorf("CONNACK %d", code)
		}
	})
}

func TestAnUnknownOperationIs404(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		_, _, op, _ := atDPS(t, cloud, "a", newDPS, bootstrap(t, cloud, "a")).register("")
		b := atDPS(t, cloud, "b", newDPS, bootstrap(t, cloud, "b"))
		for _, id := range []string{"4.0.x", op.OperationID} {
			if status, _, _, raw := b.poll(id); status != 404 {
				t.Errorf("%s: %d %s", id, status, raw)
			}
		}
	})
}

func TestTheSixthPollInTenSecondsIsThrottled(t *testing.T) {
	inBubble(t, sim.Temper{Assigning: time.Hour}, func(t *testing.T, cloud *sim.Cloud) {
		c := atDPS(t, cloud, "d", newDPS, bootstrap(t, cloud, "d"))
		_, _, op, _ := c.register("")
		for i := range 5 {
			if status, retry, _, _ := c.poll(op.OperationID); status != 202 || retry != 3 {
				t.Fatalf("poll %d: %d, retry after %d", i, status, retry)
			}
		}
		if status, retry, _, _ := c.poll(op.OperationID); status != 429 || retry < 1 {
			t.Errorf("sixth: %d, retry after %d", status, retry)
		}
	})
}

func TestDPSIsNoBroker(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		boot := bootstrap(t, cloud, "d")
		for _, topic := range []string{
			"$dps/registrations/PUT/iotdps-register/",
			"$dps/registrations/PUT/iotdps-register/?$rid=",
			"$dps/registrations/PUT/iotdps-register?$rid=1",
			"devices/d/messages/events/",
		} {
			c := atDPS(t, cloud, "d", newDPS, boot)
			c.publish(1, 3, topic, "{}")
			if said := c.closed(); len(said) != 0 {
				t.Errorf("%s: %x", topic, said)
			}
		}
		c := atDPS(t, cloud, "d", newDPS, boot)
		c.subscribe(9, "#", 1)
		c.want(0x90, 0, 9, 0x80)
		c.subscribe(10, "$dps/registrations/res/#", 2)
		c.want(0x90, 0, 10, 1)
		c.send(frame(0x34, str("$dps/registrations/PUT/iotdps-register/?$rid=1"), []byte{0, 1}))
		c.closed()
	})
}
