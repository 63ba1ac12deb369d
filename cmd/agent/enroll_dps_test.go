package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/sas"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/tpm"
)

// dps is the part of the configuration that names the simulated DPS over that transport, with more of its keys.
func (d *desk) dps(transport, more string) string {
	connect := map[string]string{"mqtt": d.cloud.DPSAddr(), "websocket": d.cloud.DPSWebSocketAddr(), "https": d.cloud.DPSHTTPAddr()}[transport]
	return fmt.Sprintf(`provisioning: {dps: {id_scope: %s, connect: "%s", roots: roots.pem, transport: %s%s}}
`, sim.IDScope, connect, transport, more)
}

func (d *desk) hub(transport string) string {
	connect := map[string]string{"mqtt": d.cloud.HubAddr(), "websocket": d.cloud.HubWebSocketAddr()}[transport]
	return fmt.Sprintf("hub: {connect: \"%s\", roots: roots.pem, transport: %s}\n", connect, transport)
}

// sharedKey is a key, and its base64 in a file beside the configuration.
func (d *desk) sharedKey(file, seed string) []byte {
	key := sas.DeriveKey([]byte(seed), "key")
	d.put(file, base64.StdEncoding.EncodeToString(key)+"\n")
	return key
}

// credential is what the identity in force shows.
func (d *desk) credential() string {
	current, _, err := identityLook(d.loaded())
	switch {
	case err != nil || current == nil:
		d.t.Fatalf("no identity: %v", err)
	case current.Certified():
		return "certificate"
	}
	return "token"
}

func TestASharedKeyOpensTheDoorOverEveryTransport(t *testing.T) {
	for _, transport := range []string{"mqtt", "websocket", "https"} {
		for csr, want := range map[bool]string{true: "certificate", false: "token"} {
			t.Run(fmt.Sprintf("%s, csr %v", transport, csr), func(t *testing.T) {
				d := newDesk(t, sim.Temper{}, "")
				d.withoutBootstrap()
				d.cloud.Enroll(sim.Enrollment{Registration: gatewayID, SymmetricKey: d.sharedKey("key", "own")})
				d.append(d.dps(transport, fmt.Sprintf(", attestation: symmetric, symmetric_key: key, csr: %v", csr)) + d.hub("mqtt"))
				d.streams()
				d.streams() // and again after a restart, without DPS
				if got := d.credential(); got != want {
					t.Errorf("the device shows a %s", got)
				}
				if n := d.cloud.Count(gatewayID, sim.Registering); n != 1 {
					t.Errorf("DPS was asked %d times", n)
				}
			})
		}
	}
}

func TestTheKeyOfAGroupIsEachDevicesOwn(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withoutBootstrap()
	d.cloud.Enroll(sim.Enrollment{Group: "line-1", SymmetricKey: d.sharedKey("group", "group")})
	d.append(d.dps("mqtt", ", attestation: symmetric, group_key: group, csr: false") + d.hub("mqtt"))
	d.streams()
}

func TestTheWrongSharedKeyIsNamedByItsFile(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withoutBootstrap()
	d.cloud.Enroll(sim.Enrollment{Registration: gatewayID, SymmetricKey: []byte("another key altogether, 32 bytes")})
	d.sharedKey("key", "own")
	d.append(d.dps("mqtt", ", attestation: symmetric, symmetric_key: key, csr: false") + d.hub("mqtt"))
	code, _, errOut := d.command("enroll")
	if code == 0 || !strings.Contains(errOut, "provisioning.dps.symmetric_key") {
		t.Errorf("enroll: %d %s", code, errOut)
	}
}

func TestTheTPMItselfOpensTheDoor(t *testing.T) {
	for csr, want := range map[bool]string{true: "certificate", false: "token"} {
		t.Run(want, func(t *testing.T) {
			d := newDesk(t, sim.Temper{}, "")
			d.withoutBootstrap()
			d.cloud.Enroll(sim.Enrollment{Registration: gatewayID, EndorsementKey: d.endorsementKey()})
			d.append(d.dps("https", fmt.Sprintf(", attestation: tpm, csr: %v", csr)) + d.hub("mqtt"))
			d.streams()
			d.streams() // and again after a restart: the key for tokens is in the TPM
			if got := d.credential(); got != want {
				t.Errorf("the device shows a %s", got)
			}
		})
	}
}

func (d *desk) endorsementKey() []byte {
	d.t.Helper()
	store, err := tpm.Open(tpm.Config{TCTI: d.tpm.TCTI(), Dir: d.t.TempDir()})
	if err != nil {
		d.t.Fatal(err)
	}
	ek, _, err := store.Endorsement(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return ek
}

func TestATPMThatNobodyEnrolledIsShownToWhoeverCan(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withoutBootstrap()
	d.append(d.dps("https", ", attestation: tpm") + d.hub("mqtt"))
	code, _, errOut := d.command("enroll")
	if ek := base64.StdEncoding.EncodeToString(d.endorsementKey()); code == 0 || !strings.Contains(errOut, ek) || !strings.Contains(errOut, gatewayID) {
		t.Errorf("enroll: %d %s", code, errOut)
	}
}

func TestACertificateTravelsOverEveryTransportToo(t *testing.T) {
	for _, transport := range []string{"websocket", "https"} {
		t.Run(transport, func(t *testing.T) {
			d := newDesk(t, sim.Temper{}, "")
			d.append(d.dps(transport, `, payload: '{"site": "north"}'`) + d.hub("websocket"))
			d.streams()
			if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
				t.Errorf("renew: %d %s%s", code, out, errOut)
			}
		})
	}
}

func TestFault42EverythingGoesThroughTheProxyAndNothingBesideIt(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	through := startProxy(t)
	d.put("proxy-password", "s3cret\n")
	d.append(d.dps("https", "") + d.hub("mqtt") + "network: {proxy: \"http://line@" + through.address + "\", proxy_password: proxy-password}\n")
	d.streams()
	for _, address := range []string{d.cloud.DPSHTTPAddr(), d.cloud.HubAddr()} {
		if through.saw(address) == 0 {
			t.Errorf("nobody went to %s through the proxy: %v", address, through.log())
		}
	}
}

func TestAFixedHubTakesTokensOfAKeyInAFile(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withoutBootstrap()
	d.cloud.CreateDevice(gatewayID, sim.Auth{Keys: [][]byte{d.sharedKey("key", "own")}})
	d.append(d.fixed(", symmetric_key: key"))
	d.streams()
	if _, out, _ := d.command("check"); !strings.Contains(out, "weaker choice") {
		t.Errorf("check says nothing of the weaker choice:\n%s", out)
	}
}

func TestAFixedHubKnowsADeviceByThumbprint(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	boot, err := bootstrapCredential(t.Context(), d.withConfig(d.fixed("")), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.cloud.CreateDevice(gatewayID, sim.Auth{Thumbprints: []string{thumbprint(boot.Leaf.Raw)}})
	d.streams()
}

// withConfig appends to the configuration and loads it.
func (d *desk) withConfig(text string) *Config {
	d.t.Helper()
	d.append(text)
	return d.loaded()
}

func TestAModuleIsAnIdentityOfItsOwn(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	name := gatewayID + "/sampler"
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := d.cloud.Bootstrap(name, key.Public(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	d.put("bootstrap.pem", identity.EncodeChain(chain))
	d.put("bootstrap.key", string(keyPEM(t, key)))
	d.cloud.CreateDevice(name, sim.Auth{CA: d.cloud.FactoryCA()})
	d.replace("device: {id: "+gatewayID+",", "device: {id: "+gatewayID+", module: sampler,")
	d.append(d.fixed(""))
	stop := d.run()
	d.until("readings of the module arrive", func() bool { return len(d.cloud.Received(name)) > 3 })
	stop()
	if n := len(d.cloud.Received(gatewayID)); n != 0 {
		t.Errorf("%d readings arrived as the device's", n)
	}
}

func (d *desk) ezca(more string) string {
	ids := d.cloud.EZCA()
	d.put("ezca-roots.pem", identity.EncodeChain(d.cloud.EZCARoots())+string(d.cloud.RootsPEM()))
	d.put("token", d.cloud.EZCAToken())
	return fmt.Sprintf(`issuer: ezca, ezca: {url: "https://%s", ca: %s, template: %s, token_file: token, roots: ezca-roots.pem%s}`,
		d.cloud.EZCAAddr(), ids.CA, ids.Template, more)
}

func TestEZCACertifiesByATokenAndThenByTheCertificateInForce(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withoutBootstrap()
	d.replace("keys: {", "keys: {algorithm: rsa-2048, ")
	roots := d.cloud.EZCARoots()
	d.cloud.CreateDevice(gatewayID, sim.Auth{CA: roots[0]})
	d.append("provisioning: {" + d.ezca("") + "}\n" + d.fixed(""))
	d.streams()
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Fatalf("renew: %d %s%s", code, out, errOut)
	}
	d.streams()
	if n := len(d.cloud.EZCAIssued(gatewayID)); n != 2 {
		t.Errorf("EZCA issued %d certificates", n)
	}
}

func TestEZCAWithAnEllipticKeyIsRefusedWithTheTwoWaysOut(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.withoutBootstrap()
	d.append("provisioning: {" + d.ezca("") + "}\n" + d.fixed(""))
	for _, command := range [][]string{{"config", "check"}, {"check"}} {
		code, out, errOut := d.command(command...)
		if text := out + errOut; code != exitConfig || !strings.Contains(text, "rsa-2048") || !strings.Contains(text, "provisioning.est.url") {
			t.Errorf("%v: %d %s", command, code, text)
		}
	}
}
