package main

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/tpm"
)

// streams runs the agent until the cloud has got readings of it.
func (d *desk) streams() {
	d.t.Helper()
	stop := d.run()
	before := len(d.cloud.Received(gatewayID))
	d.until("readings arrive", func() bool { return len(d.cloud.Received(gatewayID)) > before+3 })
	stop()
}

func TestABootstrapKeyInTheTPMOpensTheDoor(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	factory := filepath.Join(d.dir, "factory")
	store, err := tpm.Open(tpm.Config{TCTI: d.tpm.TCTI(), Dir: factory, Algorithm: keys.ECDSAP256})
	if err != nil {
		t.Fatal(err)
	}
	key, err := store.Create(t.Context(), "bootstrap")
	if err != nil {
		t.Fatal(err)
	}
	chain, err := d.cloud.Bootstrap(gatewayID, key.Public(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var certificates []byte
	for _, c := range chain {
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "bootstrap.pem"), certificates, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(factory, "bootstrap.tss2.pem"), filepath.Join(d.dir, "bootstrap.key")); err != nil {
		t.Fatal(err)
	}
	d.streams()
	if d.generation() != 1 || len(d.cloud.Issued(gatewayID)) != 1 {
		t.Errorf("generation %d, %d issued", d.generation(), len(d.cloud.Issued(gatewayID)))
	}
}

func TestWithoutACSRTheBootstrapCertificateIsTheOperationalOne(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(strings.Replace(azure(d.cloud), "{dps: {", "{dps: {csr: false, ", 1))
	d.streams()
	d.streams() // and again after a restart
	if n := len(d.cloud.Issued(gatewayID)); n != 0 {
		t.Errorf("%d certificates were issued", n)
	}
	if n := d.cloud.Count(gatewayID, sim.Registering); n != 1 {
		t.Errorf("DPS was asked %d times", n)
	}
	if current, _, err := identityLook(d.loaded()); err != nil || !strings.HasPrefix(current.Key, "bootstrap-") {
		t.Errorf("identity: %+v, %v", current, err)
	}
}

func TestAFixedHubNeedsNoDPSAndRenewsByItself(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.FactoryCA()})
	d.append(fmt.Sprintf("hub: {host: %s, connect: \"%s\", roots: roots.pem}\n", sim.HubHost, d.cloud.HubAddr()))
	d.streams()
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Fatalf("renew: %d %s%s", code, out, errOut)
	}
	d.streams()
	if n := d.cloud.Count(gatewayID, sim.Registering); n != 0 {
		t.Errorf("DPS was asked %d times", n)
	}
	current, _, err := identityLook(d.loaded())
	if err != nil || current.Key != "device-g2" {
		t.Errorf("after the renewal: %+v, %v: want a key of the TPM", current, err)
	}
}

func (d *desk) loaded() *Config {
	d.t.Helper()
	c, err := loadConfig(d.file)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

func TestAChipThatTakesItsTimeIsWaitedFor(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.tpm.Slow(200 * time.Millisecond)
	d.append(azure(d.cloud))
	d.streams()
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Errorf("renew: %d %s%s", code, out, errOut)
	}
}

func TestEachAlgorithmServesTheWholeWay(t *testing.T) {
	for _, algorithm := range keys.Algorithms {
		t.Run(string(algorithm), func(t *testing.T) {
			d := newDesk(t, sim.Temper{}, "")
			d.append(azure(d.cloud))
			b, err := os.ReadFile(d.file)
			if err != nil {
				t.Fatal(err)
			}
			d.configure(strings.Replace(string(b), "keys: {", "keys: {algorithm: "+string(algorithm)+", ", 1))
			d.streams()
		})
	}
}

func TestTheStrictPolicyAsksForP384InWords(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.cloud.SetPolicy(func(p *sim.Policy) { p.P384Only = true })
	d.append(azure(d.cloud))
	code, _, errOut := d.command("enroll")
	if code == 0 || !strings.Contains(errOut, "do:") {
		t.Errorf("a P-256 key under the strict policy: %d\n%s", code, errOut)
	}
}
