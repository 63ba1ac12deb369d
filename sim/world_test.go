package sim_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// inBubble runs a story in virtual time against a cloud in memory.
func inBubble(t *testing.T, temper sim.Temper, story func(*testing.T, *sim.Cloud)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(temper, func(p *sim.Policy) { p.ECDSAServer = true })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cloud.Close() })
		story(t, cloud)
	})
}

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// credential is a key and a chain that a device presents.
type credential struct {
	key   crypto.Signer
	chain []*x509.Certificate
}

func (c credential) tls() tls.Certificate {
	out := tls.Certificate{PrivateKey: c.key}
	for _, x := range c.chain {
		out.Certificate = append(out.Certificate, x.Raw)
	}
	return out
}

func bootstrap(t *testing.T, cloud *sim.Cloud, device string) credential {
	t.Helper()
	key := newKey(t, elliptic.P256())
	chain, err := cloud.Bootstrap(device, key.Public(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return credential{key, chain}
}

// csr is a PKCS#10 request as it travels.
func csr(t *testing.T, cn string, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

const (
	newDPS = "2025-07-01-preview"
	newHub = "2025-08-01-preview"
)

func dpsUser(id, version string) string {
	return fmt.Sprintf("%s/registrations/%s/api-version=%s", sim.IDScope, id, version)
}

func hubUser(id, version string) string {
	return fmt.Sprintf("%s/%s/?api-version=%s&DeviceClientType=test%%2F1", sim.HubHost, id, version)
}

// atDPS is a device connected to the DPS and subscribed.
func atDPS(t *testing.T, cloud *sim.Cloud, id, version string, cert credential) *client {
	t.Helper()
	c, err := wire(t, cloud, sim.DPSHost, cert)
	if err != nil {
		t.Fatal(err)
	}
	if code := c.hello(hello{id: id, user: dpsUser(id, version)}); code != 0 {
		t.Fatalf("CONNACK %d: %v", code, cloud.Events())
	}
	c.subscribe(1, "$dps/registrations/res/#", 1)
	c.want(0x90, 0, 1, 1)
	return c
}

// atHub is a device connected to the hub.
func atHub(t *testing.T, cloud *sim.Cloud, id string, cert credential, more ...func(*hello)) *client {
	t.Helper()
	c, err := wire(t, cloud, sim.HubHost, cert)
	if err != nil {
		t.Fatal(err)
	}
	h := hello{id: id, user: hubUser(id, newHub)}
	for _, f := range more {
		f(&h)
	}
	if code := c.hello(h); code != 0 {
		t.Fatalf("CONNACK %d: %v", code, cloud.Events())
	}
	return c
}

func persistent(h *hello) { h.flags = 0x80 }

// events is the topic of telemetry with a bag.
func events(id, bag string) string { return "devices/" + id + "/messages/events/" + bag }

// operational gives a device a registration and the certificate that comes with it.
func operational(t *testing.T, cloud *sim.Cloud, id string) credential {
	t.Helper()
	key := newKey(t, elliptic.P384())
	c := atDPS(t, cloud, id, newDPS, bootstrap(t, cloud, id))
	_, state := c.enroll(fmt.Sprintf(`{"registrationId":%q,"csr":%q}`, id, csr(t, id, key)))
	return credential{key, parseChain(t, state.Chain)}
}

func parseChain(t *testing.T, chain []string) []*x509.Certificate {
	t.Helper()
	var all []*x509.Certificate
	for _, s := range chain {
		der, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		x, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	if len(all) == 0 {
		t.Fatal("no chain")
	}
	return all
}

// reason is why the last connection was refused.
func reason(cloud *sim.Cloud) string {
	why := ""
	for _, e := range cloud.Events() {
		if e.Kind == sim.Refused {
			why = e.Detail
		}
	}
	return why
}

func wantReason(t *testing.T, cloud *sim.Cloud, part string) {
	t.Helper()
	if !strings.Contains(reason(cloud), part) {
		t.Errorf("refused because %q, want %q", reason(cloud), part)
	}
}
