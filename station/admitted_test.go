package station_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
)

// enrolled is a device that an order of one has enrolled with the technician's authority, registered by r.
func enrolled(t *testing.T, technician *station.Authority, r station.Registrar) tls.Certificate {
	t.Helper()
	key, dir := newKey(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "gw-1.csr"), request(t, key, named("gw-1")).Raw, 0o600); err != nil {
		t.Fatal(err)
	}
	o := openOrder(t, t.TempDir(), nil, "gw-1.csr")
	b := &station.Batch{Order: o, Reach: station.Folder{Dir: dir}.Reach, Signer: station.LocalSigner{Authority: technician}, Registrar: r}
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err, itemOf(t, o, "gw-1.csr").Error)
	}
	text, err := os.ReadFile(filepath.Join(dir, "gw-1.chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.ParseChain(text)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Certificate{PrivateKey: key}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}

// connack is what the hub says to a CONNECT of MQTT 3.1.1 of gw-1.
func (c *cloud) connack(device tls.Certificate) []byte {
	c.t.Helper()
	conn, err := tls.Dial("tcp", c.HubAddr(), &tls.Config{RootCAs: c.roots, ServerName: sim.HubHost, Certificates: []tls.Certificate{device}})
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	body := append(text("MQTT"), 4, 0x82, 0, 60) // level, user name and clean session, keepalive
	body = append(append(body, text("gw-1")...), text(sim.HubHost+"/gw-1/?api-version=2021-04-12")...)
	if _, err := conn.Write(append([]byte{0x10, byte(len(body))}, body...)); err != nil {
		c.t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(conn, answer); err != nil {
		c.t.Fatal(err)
	}
	return answer
}

func TestHubLetsInWhatTheTechnicianHasEnrolled(t *testing.T) {
	c, all := newCloud(t, sim.Temper{}), supplyChain(t)
	c.verify(all[0])
	device := enrolled(t, all[3], station.HubRegistrar{Hub: c.hub(), Auth: station.AuthCA})
	if got := c.connack(device); !bytes.Equal(got, []byte{0x20, 2, 0, 0}) {
		t.Errorf("the hub answers %x", got)
	}
	if _, err := c.hub().SetStatus(t.Context(), "gw-1", false, "stolen"); err != nil {
		t.Fatal(err)
	}
	if got := c.connack(device); got[3] == 0 {
		t.Error("the hub lets a disabled device in")
	}
}

// registers asks DPS for gw-1 over HTTPS, and returns the status.
func (c *cloud) registers(device tls.Certificate) int {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPut, "https://"+c.DPSHTTPAddr()+"/"+sim.IDScope+"/registrations/gw-1/register?api-version=2021-06-01",
		bytes.NewReader([]byte(`{"registrationId":"gw-1"}`)))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Host = sim.DPSHost
	r.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots, ServerName: sim.DPSHost, Certificates: []tls.Certificate{device}}}
	defer transport.CloseIdleConnections()
	a, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	a.Body.Close()
	return a.StatusCode
}

func TestDPSLetsInWhatTheTechnicianHasEnrolled(t *testing.T) {
	for name, enroll := range map[string]func(*cloud, []*station.Authority) station.Registrar{
		"one by one": func(c *cloud, _ []*station.Authority) station.Registrar {
			return station.DPSRegistrar{DPS: c.dps("")}
		},
		"as a group": func(c *cloud, all []*station.Authority) station.Registrar {
			c.verify(all[0]) // the chain has to end in a CA that is verified ("X.509 certificate attestation", Microsoft Learn)
			g := station.Enrollment{EnrollmentGroupID: "line-4", Attestation: station.Attestation{Type: station.AttestX509, X509: &station.X509Attestation{Signing: pemOf(all[2])}}}
			if _, err := c.dps("").Enroll(c.t.Context(), g); err != nil {
				c.t.Fatal(err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, all := newCloud(t, sim.Temper{}), supplyChain(t)
			device := enrolled(t, all[3], enroll(c, all))
			if got := c.registers(device); got != http.StatusAccepted {
				t.Errorf("DPS answers %d", got)
			}
			stranger := enrolled(t, technician(t), nil)
			if got := c.registers(stranger); got != http.StatusUnauthorized {
				t.Errorf("DPS answers %d to a stranger", got)
			}
		})
	}
}
