package main

import (
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
)

// sign is the person at the CA: it returns the chain for a request.
func (d *desk) sign(request string) string {
	d.t.Helper()
	block, _ := pem.Decode([]byte(request))
	if block == nil {
		d.t.Fatalf("no request: %q", request)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		d.t.Fatal(err, csr.CheckSignature())
	}
	chain, err := d.cloud.Bootstrap(csr.Subject.CommonName, csr.PublicKey, 24*time.Hour)
	if err != nil {
		d.t.Fatal(err)
	}
	return identity.EncodeChain(chain)
}

func (d *desk) byHand() {
	d.withoutBootstrap()
	d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.FactoryCA()})
	d.append("provisioning: {issuer: hand}\n" + d.fixed(""))
}

func TestADeviceIsEnrolledByUSBStick(t *testing.T) {
	d := newDesk(t, sim.Temper{Offline: true}, "")
	d.byHand()
	code, request, errOut := d.command("csr")
	if code != 0 {
		t.Fatalf("csr: %d %s", code, errOut)
	}
	if _, again, _ := d.command("csr"); again != request {
		t.Error("asked twice, and the second request is another")
	}
	d.put("chain.pem", d.sign(request))
	if code, out, errOut := d.command("import", filepath.Join(d.dir, "chain.pem")); code != 0 || !strings.Contains(out, "when the agent starts") {
		t.Fatalf("import: %d %s%s", code, out, errOut)
	}
	d.cloud.SetTemper(sim.Temper{}) // the device goes where there is a network
	d.streams()
	if n := d.cloud.Count(gatewayID, sim.Registering); d.generation() != 1 || n != 0 {
		t.Errorf("generation %d, DPS asked %d times", d.generation(), n)
	}
}

func TestARunningAgentHandsOutItsRequestAndTakesTheChainAtOnce(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.byHand()
	for generation := uint64(1); generation <= 2; generation++ {
		stop := d.run()
		d.until("the agent runs", func() bool { return running(filepath.Join(d.dir, "state")) != 0 })
		code, request, errOut := d.command("csr", "--out", filepath.Join(d.dir, "request.csr"))
		if code != 0 || request != "" {
			t.Fatalf("csr: %d %s%s", code, request, errOut)
		}
		_, request, _ = d.command("csr")
		d.put("chain.pem", d.sign(request))
		if code, out, errOut := d.command("import", filepath.Join(d.dir, "chain.pem")); code != 0 || !strings.Contains(out, "takes it now") {
			t.Fatalf("import: %d %s%s", code, out, errOut)
		}
		d.until("the chain is in force", func() bool { return d.generation() == generation })
		stop()
	}
}

func TestAChainForAnotherDeviceIsNotImported(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.byHand()
	if code, _, errOut := d.command("import", filepath.Join(d.dir, "roots.pem")); code != exitFailure || !strings.Contains(errOut, "no request waits") {
		t.Errorf("without a request: %d %s", code, errOut)
	}
	if code, _, errOut := d.command("csr"); code != 0 {
		t.Fatal(errOut)
	}
	code, _, errOut := d.command("import", filepath.Join(d.dir, "bootstrap.pem"))
	if code != exitFailure || !strings.Contains(errOut, "the key of the request") || !strings.Contains(errOut, "do:") {
		t.Errorf("the bootstrap certificate: %d %s", code, errOut)
	}
}
