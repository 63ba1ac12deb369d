package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/sim"
)

func TestMain(m *testing.M) { hsmtest.Main(m) }

// onToken gives the desk a PKCS#11 token instead of its TPM.
func (d *desk) onToken(token *hsmtest.Token, more string) {
	d.t.Helper()
	c := token.Config()
	b, err := os.ReadFile(d.file)
	if err != nil {
		d.t.Fatal(err)
	}
	section := fmt.Sprintf("keys: {pkcs11: %q, helper: %q, environment: [%q]%s}", c.URI, c.Helper, c.Env[0], more)
	d.configure(strings.Replace(string(b), fmt.Sprintf("keys: {tpm: %q}", d.tpm.TCTI()), section, 1))
}

// certify puts a bootstrap certificate for a key in the hardware in the place of the one in a file.
func (d *desk) certify(public any) {
	d.t.Helper()
	chain, err := d.cloud.Bootstrap(gatewayID, public, time.Hour)
	if err != nil {
		d.t.Fatal(err)
	}
	var certificates []byte
	for _, c := range chain {
		certificates = append(certificates, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "bootstrap.pem"), certificates, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) replace(old, new string) {
	d.t.Helper()
	b, err := os.ReadFile(d.file)
	if err != nil {
		d.t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		d.t.Fatalf("the configuration has no %q", old)
	}
	d.configure(strings.Replace(string(b), old, new, 1))
}

func TestATokenServesTheWholeWay(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.onToken(hsmtest.Start(t), "")
	d.streams()
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Fatalf("renew: %d %s%s", code, out, errOut)
	}
	if code, out, errOut := d.command("check"); code != 0 || !strings.Contains(out, "CKA_NEVER_EXTRACTABLE") {
		t.Errorf("check: %d\n%s%s", code, out, errOut)
	}
	d.streams()
}

func TestATokenThatIsPulledIsWaitedForWhileReadingsAreTakenIn(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	token := hsmtest.Start(t)
	d.onToken(token, "")
	d.run()
	d.until("the agent connects", func() bool { return d.cloud.Online(gatewayID) })
	token.Pull()
	d.cloud.Disconnect(gatewayID)
	d.until("the session is lost", func() bool { s := d.status(); return s.Hub != nil && s.Hub.State != "online" })
	before := d.status().Spool.LastSeq
	d.until("readings are taken in", func() bool { return d.status().Spool.LastSeq > before+5 })
	token.PutBack()
	d.until("it is back without a restart", func() bool { return d.cloud.Online(gatewayID) })
	last := d.status().Spool.LastSeq
	d.until("all that waited arrives", func() bool { return d.status().Spool.Acked >= last })
}

func TestATokenThatMakesNoKeysKeepsTheOneItHas(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	token := hsmtest.Start(t)
	store := token.Open(t, token.Config())
	key, err := store.Create(t.Context(), "factory")
	if err != nil {
		t.Fatal(err)
	}
	d.certify(key.Public())
	d.onToken(token, ", policy: same")
	d.replace("key: bootstrap.key", `key: "pkcs11:object=devid-agent:factory"`)
	d.streams()
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Fatalf("renew: %d %s%s", code, out, errOut)
	}
	if names, err := store.Names(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("keys on the token: %v, %v", names, err)
	}
	issued := d.cloud.Issued(gatewayID)
	if len(issued) != 2 || string(issued[0].RawSubjectPublicKeyInfo) != string(issued[1].RawSubjectPublicKeyInfo) {
		t.Errorf("%d certificates, and not of one key", len(issued))
	}
}

func TestCertificateRequestsMayCarryEvidence(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.replace("keys: {", "keys: {attest: true, ")
	if code, out, errOut := d.command("enroll"); code != 0 {
		t.Fatalf("enroll: %d %s%s", code, out, errOut)
	}
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Errorf("renew: %d %s%s", code, out, errOut)
	}
	requests := d.cloud.Requests(gatewayID)
	if len(requests) != 2 {
		t.Fatalf("the cloud saw %d certificate requests", len(requests))
	}
	// id-aa-attestation, 1.2.840.113549.1.9.16.2.59
	oid := []byte{0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x02, 0x3b}
	for _, r := range requests {
		if !bytes.Contains(r.RawTBSCertificateRequest, oid) {
			t.Error("a certificate request has no evidence in it")
		}
	}
}

func TestAClearedTPMLeadsThroughDPSAndNotIntoALoop(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.run()
	d.until("the agent connects", func() bool { return d.cloud.Online(gatewayID) })
	d.tpm.Clear()
	d.cloud.Disconnect(gatewayID)
	d.until("the device is enrolled again", func() bool { return d.generation() == 2 && d.cloud.Online(gatewayID) })
	if n := d.cloud.Count(gatewayID, sim.Registering); n != 2 {
		t.Errorf("DPS was asked %d times", n)
	}
}

func TestATPMThatWasClearedOverNightIsSeenAtBoot(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.streams()
	d.tpm.Clear()
	d.streams()
	if d.generation() != 2 {
		t.Errorf("generation %d", d.generation())
	}
}

func TestEveryIssuerCertifiesTheKeysOfATokenToo(t *testing.T) {
	for name, way := range map[string]struct {
		keys    string
		prepare func(d *desk)
	}{
		"DPS by a shared key": {"", func(d *desk) {
			d.cloud.Enroll(sim.Enrollment{Registration: gatewayID, SymmetricKey: d.sharedKey("key", "own")})
			d.append(d.dps("https", ", attestation: symmetric, symmetric_key: key") + d.hub("websocket"))
		}},
		"EST": {"", func(d *desk) {
			d.cloud.ESTUser("line-1", "s3cret")
			d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.ESTRoots()[0]})
			d.put("password", "s3cret")
			d.append("provisioning: {" + d.est(", username: line-1, password_file: password") + "}\n" + d.fixed(""))
		}},
		"EZCA": {", algorithm: rsa-2048", func(d *desk) {
			d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.EZCARoots()[0]})
			d.append("provisioning: {" + d.ezca("") + "}\n" + d.fixed(""))
		}},
		"a bootstrap certificate and then the hub": {"", func(d *desk) {
			d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.FactoryCA()})
			d.append("bootstrap: {certificate: bootstrap.pem, key: bootstrap.key}\n" + d.fixed(""))
			if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation ") {
				d.t.Fatalf("renew: %d %s%s", code, out, errOut)
			}
		}},
		"a person": {"", func(d *desk) {
			d.cloud.CreateDevice(gatewayID, sim.Auth{CA: d.cloud.FactoryCA()})
			d.append("provisioning: {issuer: hand}\n" + d.fixed(""))
			_, request, _ := d.command("csr")
			d.put("chain.pem", d.sign(request))
			if code, _, errOut := d.command("import", filepath.Join(d.dir, "chain.pem")); code != 0 {
				d.t.Fatal(errOut)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, sim.Temper{}, "")
			d.withoutBootstrap()
			d.onToken(hsmtest.Start(t), way.keys)
			way.prepare(d)
			d.streams()
			if got := d.credential(); got != "certificate" {
				t.Errorf("the device shows a %s", got)
			}
		})
	}
}
