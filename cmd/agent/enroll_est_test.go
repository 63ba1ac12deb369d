package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
)

// put writes a file beside the configuration.
func (d *desk) put(name, content string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// withoutBootstrap takes away what the factory gave.
func (d *desk) withoutBootstrap() {
	d.t.Helper()
	d.replace("bootstrap: {certificate: bootstrap.pem, key: bootstrap.key}\n", "")
}

// est is the part of the configuration that names the simulated EST server, with more of its keys.
func (d *desk) est(more string) string {
	d.put("est-roots.pem", identity.EncodeChain(d.cloud.ESTRoots())+string(d.cloud.RootsPEM()))
	return fmt.Sprintf(`issuer: est, est: {url: "https://%s", roots: est-roots.pem%s}`, d.cloud.ESTAddr(), more)
}

// fixed is the part that names the simulated hub, where no DPS does.
func (d *desk) fixed(more string) string {
	return fmt.Sprintf("hub: {host: %s, connect: \"%s\", roots: roots.pem%s}\n", sim.HubHost, d.cloud.HubAddr(), more)
}

func TestESTCertifiesWithAPasswordAndThenWithTheCertificateInForce(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withoutBootstrap()
	d.cloud.ESTUser("line-1", "s3cret")
	d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.ESTRoots()[0]})
	d.put("password", "s3cret\n")
	d.append("provisioning: {" + d.est(", username: line-1, password_file: password") + "}\n" + d.fixed(""))
	d.streams()
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Fatalf("renew: %d %s%s", code, out, errOut)
	}
	d.streams()
	if code, out, _ := d.command("check"); code != 0 || !strings.Contains(out, "ok    est ") {
		t.Errorf("check: %d\n%s", code, out)
	}
	d.replace(d.cloud.ESTAddr(), freePort(t))
	if code, out, _ := d.command("check"); code != exitFailure || !strings.Contains(out, "FAIL  est ") {
		t.Errorf("check without the EST server: %d\n%s", code, out)
	}
	if n := d.cloud.ESTCount(gatewayID); len(d.cloud.ESTIssued(gatewayID)) != 2 {
		t.Errorf("EST issued %d certificates: %+v", len(d.cloud.ESTIssued(gatewayID)), n)
	}
	if n := d.cloud.Count(gatewayID, sim.Registering); n != 0 {
		t.Errorf("DPS was asked %d times", n)
	}
}

func TestESTCertifiesWithTheBootstrapCertificateAndDPSNamesTheHub(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.cloud.Enroll(sim.Enrollment{CA: d.cloud.ESTRoots()[0], NoPolicy: true})
	d.append(strings.Replace(azure(d.cloud), "provisioning: {", "provisioning: {"+d.est("")+", ", 1))
	d.streams()
	d.streams() // and again after a restart: the assignment is durable
	if n := d.cloud.Count(gatewayID, sim.Registering); n != 1 {
		t.Errorf("DPS was asked %d times", n)
	}
	if len(d.cloud.ESTIssued(gatewayID)) != 1 || len(d.cloud.Issued(gatewayID)) != 0 {
		t.Errorf("issued: EST %d, DPS %d", len(d.cloud.ESTIssued(gatewayID)), len(d.cloud.Issued(gatewayID)))
	}
}

func TestAnESTServerThatDecidesLaterIsAskedForTheSameKeyAlsoAfterARestart(t *testing.T) {
	d := newDesk(t, sim.Temper{EST: sim.ESTTemper{Pending: 2, RetryAfter: 1e12}}, "")
	d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.ESTRoots()[0]})
	d.append("provisioning: {" + d.est("") + "}\n" + d.fixed(""))
	var keys []string
	for range 2 {
		if code, _, errOut := d.command("enroll"); code == 0 || !strings.Contains(errOut, "waits for a decision") {
			t.Fatalf("enroll: %d %s", code, errOut)
		}
		names, err := os.ReadFile(filepath.Join(d.dir, "state", "keys", "device-g1.tss2.pem"))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, string(names))
	}
	if keys[0] != keys[1] {
		t.Error("another key after the restart")
	}
	if code, out, errOut := d.command("enroll"); code != 0 {
		t.Errorf("enroll: %d %s%s", code, out, errOut)
	}
}
