package sim_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

// foreign is a sound chain of somebody else's CA.
func foreign(t *testing.T, cn string) credential {
	t.Helper()
	other, err := sim.New(sim.Temper{}, func(p *sim.Policy) { p.ECDSAServer = true })
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	return bootstrap(t, other, cn)
}

func TestEnrollmentsDecide(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		cloud.DisableEnrollment("off")
		c := atDPS(t, cloud, "off", newDPS, bootstrap(t, cloud, "off"))
		status, _, op, _ := c.register("")
		if status != 200 || op.Status != "disabled" || op.OperationID != "" || op.RegistrationState.Status != "disabled" {
			t.Errorf("disabled: %d %+v", status, op)
		}

		cloud.Enroll(sim.Enrollment{Registration: "reg", DeviceID: "Other-Name"})
		key := newKey(t, elliptic.P256())
		_, s := atDPS(t, cloud, "reg", newDPS, bootstrap(t, cloud, "reg")).enroll(fmt.Sprintf(`{"csr":%q}`, csr(t, "reg", key)))
		if s.DeviceID != "Other-Name" || s.RegistrationID != "reg" {
			t.Errorf("individual: %+v", s)
		}
		atHub(t, cloud, "Other-Name", credential{key, parseChain(t, s.Chain)})

		cloud.Enroll(sim.Enrollment{Registration: "poor", NoPolicy: true})
		raw, _ := atDPS(t, cloud, "poor", newDPS, bootstrap(t, cloud, "poor")).enroll(fmt.Sprintf(`{"csr":%q}`, csr(t, "poor", key)))
		if !strings.Contains(raw, `"issuedCertificateChain":null`) {
			t.Errorf("no policy: %s", raw)
		}

		cloud.RemoveEnrollments()
		c = atDPS(t, cloud, "gone", newDPS, bootstrap(t, cloud, "gone"))
		status, _, op, _ = c.register("")
		if status != 404 || op.ErrorCode/1000 != 404 || op.TrackingID == "" || !regexp.MustCompile(`\.\d{7}Z$`).MatchString(op.TimestampUTC) {
			t.Errorf("none: %d %+v", status, op)
		}
	})
}

func TestAnIndividualEnrollmentTakesExactlyItsCertificate(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		own := foreign(t, "solo")
		cloud.Enroll(sim.Enrollment{Registration: "solo", Certificate: own.chain[0]})
		atDPS(t, cloud, "solo", "2019-03-31", own).enroll("")
		atHub(t, cloud, "solo", own)
		c, err := wire(t, cloud, sim.DPSHost, bootstrap(t, cloud, "solo"))
		if err != nil {
			t.Fatal(err)
		}
		if code := c.hello(hello{id: "solo", user: dpsUser("solo", newDPS)}); code != 5 {
			t.Errorf("another certificate: CONNACK %d", code)
		}
	})
}

func TestDPSChecksTheCSR(t *testing.T) {
	inBubble(t, sim.Temper{}, func(t *testing.T, cloud *sim.Cloud) {
		c := atDPS(t, cloud, "dev", newDPS, bootstrap(t, cloud, "dev"))
		small, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		good := csr(t, "dev", newKey(t, elliptic.P256()))
		bent := []byte(good)
		bent[len(bent)-9] ^= 1
		for name, body := range map[string]string{
			"other name":        fmt.Sprintf(`{"csr":%q}`, csr(t, "Dev", newKey(t, elliptic.P256()))),
			"curve":             fmt.Sprintf(`{"csr":%q}`, csr(t, "dev", newKey(t, elliptic.P521()))),
			"RSA 1024":          fmt.Sprintf(`{"csr":%q}`, csr(t, "dev", small)),
			"signature":         fmt.Sprintf(`{"csr":%q}`, bent),
			"line break":        fmt.Sprintf(`{"csr":%q}`, good[:64]+"\n"+good[64:]),
			"PEM":               `{"csr":"-----BEGIN CERTIFICATE REQUEST-----"}`,
			"empty":             `{"csr":""}`,
			"too long":          fmt.Sprintf(`{"csr":%q}`, strings.Repeat("A", 8196)),
			"not JSON":          `{"csr":`,
			"payload no object": `{"payload":[1]}`,
			"other ID":          `{"registrationId":"x"}`,
		} {
			if status, _, op, raw := c.register(body); status != 400 || op.ErrorCode/1000 != 400 {
				t.Errorf("%s: %d %s", name, status, raw)
			}
		}
		cloud.SetPolicy(func(p *sim.Policy) { p.P384Only = true })
		if status, _, _, raw := c.register(fmt.Sprintf(`{"csr":%q}`, good)); status != 400 {
			t.Errorf("P-256 where P-384 is the rule: %d %s", status, raw)
		}
		if status, _, _, raw := c.register(fmt.Sprintf(`{"csr":%q}`, csr(t, "dev", newKey(t, elliptic.P384())))); status != 202 {
			t.Errorf("P-384: %d %s", status, raw)
		}
	})
}
