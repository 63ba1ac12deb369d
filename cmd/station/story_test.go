package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/station"
)

func TestTechnicianMakesASupplyChainAndSigns(t *testing.T) {
	d := newDesk(t)
	d.chainOfCAs()
	d.refused("which authority?", "ca", "show")
	d.refused("there is a root authority", "ca", "init", "root", "--ca", "{dir}/root", "--cn", "Another")
	d.request("gw-1", "gw-1")
	d.request("bad", "gw 2")
	var lines []signed
	code, out, errOut := d.command("ca", "sign", "{dir}/gw-1.csr", "{dir}/bad.csr", "--ca", "{dir}/technician", "--days", "30", "--json")
	if err := json.Unmarshal([]byte(out), &lines); err != nil || code != exitFailure || lines[0].Trouble != nil || lines[1].Trouble == nil {
		t.Errorf("%d %v %s%s", code, err, out, errOut)
	}
	root := d.write("root.pem", d.read("root", "chain.pem"))
	d.openssl("verify", "-CAfile", root, "-untrusted", "{dir}/gw-1.chain.pem", "{dir}/gw-1.chain.pem")
	if strings.Count(d.must(nil, "ca", "issued", "--ca", "{dir}/technician"), "device") != 1 {
		t.Error("the journal has not one device")
	}
	d.must(nil, "ca", "prove", "CODE-1", "--ca", "{dir}/root", "--out", "{dir}/proof.pem")
	if got := d.openssl("x509", "-in", "{dir}/proof.pem", "-noout", "-subject"); !strings.Contains(got, "CODE-1") {
		t.Errorf("proof: %s", got)
	}
}

func TestAuthoritiesAreAtDifferentPlaces(t *testing.T) {
	d := newDesk(t)
	d.must(nil, "ca", "init", "root", "--ca", "{dir}/root", "--cn", "Company-X root")
	if out := d.must(nil, "ca", "init", "factory", "--ca", "{dir}/factory", "--cn", "Factory-Y"); !strings.Contains(out, "ca certify") {
		t.Errorf("what next? %s", out)
	}
	d.refused("no certificate yet", "ca", "show", "--ca", "{dir}/factory")
	d.must(nil, "ca", "certify", "{dir}/factory/request.pem", "--kind", "factory", "--ca", "{dir}/root", "--out", "{dir}/chain.pem")
	d.refused("stands not below", "ca", "certify", "{dir}/factory/request.pem", "--kind", "root", "--ca", "{dir}/root")
	var shown struct{ Kind, Issuer string }
	d.must(&shown, "ca", "install", "{dir}/chain.pem", "--ca", "{dir}/factory", "--json")
	if shown.Kind != "factory" || shown.Issuer != "CN=Company-X root" {
		t.Errorf("%+v", shown)
	}
}

func TestRequestComesByPipe(t *testing.T) {
	d := newDesk(t)
	d.must(nil, "ca", "init", "root", "--ca", "{dir}/root", "--cn", "R")
	d.request("gw-1", "gw-1")
	var out bytes.Buffer
	code := execute(t.Context(), []string{"ca", "sign", "-", "--ca", d.file("root")}, strings.NewReader(d.read("gw-1.csr")), &out, io.Discard)
	if chain, err := identity.ParseChain(out.Bytes()); code != 0 || err != nil || len(chain) != 2 {
		t.Errorf("%d %v %s", code, err, out.String())
	}
}

func TestAdministratorRegistersDevicesAndModules(t *testing.T) {
	d := newDesk(t)
	d.must(nil, d.atHub("hub", "create", "gw-1")...)
	d.refused("exists already", d.atHub("hub", "create", "gw-1")...)
	d.refused("is for another --auth", d.atHub("hub", "create", "gw-2", "--key-out", "{dir}/k")...)
	out := d.must(nil, d.atHub("hub", "create", "gw-1/app", "--auth", "sas", "--key-out", "{dir}/app.key", "--json")...)
	if key := strings.TrimSpace(d.read("app.key")); key == "" || strings.Contains(out, key) {
		t.Errorf("the key is printed, or not written: %s", out)
	}
	if info, err := os.Stat(d.file("app.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	var shown station.Device
	d.must(&shown, d.atHub("hub", "disable", "gw-1", "--reason", "stolen", "--json")...)
	if shown.Status != "disabled" || shown.StatusReason != "stolen" {
		t.Errorf("%+v", shown)
	}
	d.must(nil, d.atHub("hub", "enable", "gw-1")...)
	d.must(nil, d.atHub("hub", "delete", "gw-1")...)
	d.refused("it does not exist", d.atHub("hub", "show", "gw-1")...)
	print := strings.Repeat("AB:", 31) + "AB"
	d.must(&shown, d.atHub("hub", "create", "gw-3", "--auth", "thumbprint", "--thumbprint", print, "--json")...)
	if shown.Authentication.Thumbprint.Primary != strings.Repeat("AB", 32) {
		t.Errorf("%+v", shown.Authentication.Thumbprint)
	}
}

func TestAdministratorEnrollsAtDPS(t *testing.T) {
	d := newDesk(t)
	d.must(nil, "ca", "init", "root", "--ca", "{dir}/root", "--cn", "R")
	d.must(nil, d.atDPS("dps", "enroll", "line-4", "--group", "--certificate", "{dir}/root/chain.pem")...)
	d.refused("exists already", d.atDPS("dps", "enroll", "line-4", "--group", "--certificate", "{dir}/root/chain.pem")...)
	d.must(nil, d.atDPS("dps", "enroll", "line-4", "--group", "--certificate", "{dir}/root/chain.pem", "--disabled", "--replace")...)
	d.refused("the certificate of", d.atDPS("dps", "enroll", "gw-1", "--certificate", "{dir}/root/chain.pem")...)
	out := d.must(nil, d.atDPS("dps", "enroll", "gw-1", "--attest", "symmetric", "--key-out", "{dir}/gw-1.key", "--credential-policy", "short")...)
	if key := strings.TrimSpace(d.read("gw-1.key")); key == "" || strings.Contains(out, key) {
		t.Errorf("the key is printed, or not written: %s", out)
	}
	if out := d.must(nil, d.atDPS("dps", "list")...); !strings.Contains(out, "gw-1") {
		t.Errorf("list: %s", out)
	}
	d.must(nil, d.atDPS("dps", "delete", "gw-1")...)
	var group station.Enrollment
	d.must(&group, d.atDPS("dps", "show", "line-4", "--group", "--json")...)
	if group.Status != "disabled" {
		t.Errorf("%+v", group)
	}
}

func TestAdministratorWorksWithEZCA(t *testing.T) {
	d := newDesk(t)
	app, names := d.cloud.Entra().App, d.cloud.EZCA()
	t.Setenv("AZURE_TENANT_ID", d.cloud.Entra().Tenant)
	t.Setenv("AZURE_CLIENT_ID", app.ClientID)
	t.Setenv("AZURE_CLIENT_SECRET", app.Secret)
	if out := d.must(nil, d.atEZCA("ezca", "cas")...); !strings.Contains(out, names.Template) {
		t.Errorf("cas: %s", out)
	}
	where := []string{"--ca-id", names.CA, "--template", names.Template}
	d.refused("owners and requesters", d.atEZCA(append([]string{"ezca", "register", "--domain", "gw-1"}, where...)...)...)
	d.must(nil, d.atEZCA(append([]string{"ezca", "register", "--domain", "gw-1", "--owner", "11111111-2222-3333-4444-555555555555", "--requester", "Application:" + app.ObjectID}, where...)...)...)
	d.request("gw-1", "gw-1")
	d.must(nil, d.atEZCA(append([]string{"ezca", "request", "--csr", "{dir}/gw-1.csr", "--out", "{dir}/gw-1.pem", "--days", "30"}, where...)...)...)
	chain, err := identity.ParseChain([]byte(d.read("gw-1.pem")))
	if err != nil {
		t.Fatal(err)
	}
	print := station.EZCAThumbprint(chain[0])
	if out := d.must(nil, d.atEZCA("ezca", "list")...); !strings.Contains(out, print) {
		t.Errorf("list: %s", out)
	}
	d.must(nil, d.atEZCA(append([]string{"ezca", "revoke", print}, where...)...)...)
	d.refused("several ways", d.atEZCA("ezca", "cas", "--token-file", "x", "--managed-identity")...)
}

func TestOrderFromAFolderIsRegisteredSignedAndReported(t *testing.T) {
	d := newDesk(t)
	d.chainOfCAs()
	if err := os.Mkdir(d.file("in"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gw-1", "gw-2", "gw-3"} {
		d.request("in/"+name, name)
	}
	d.write("in/broken.csr", "not a request")
	order := d.atHub("enroll", "--folder", "{dir}/in", "--order", "{dir}/order-7", "--ca", "{dir}/technician", "--register", "hub")
	code, out, errOut := d.command(order...)
	if code != exitFailure || !strings.Contains(errOut, "1 of 4 devices are not finished") || !strings.Contains(errOut, "gw-2.csr  gw-2  installed") {
		t.Errorf("%d %s%s", code, out, errOut)
	}
	d.request("in/broken", "gw-4")
	before := d.read("in", "gw-1.chain.pem")
	var report station.Report
	d.must(&report, append(order, "--json")...)
	if report.Devices != 4 || report.Finished != 4 || d.read("in", "gw-1.chain.pem") != before {
		t.Errorf("%+v", report)
	}
	for _, name := range []string{"gw-1", "gw-4"} {
		var shown station.Device
		d.must(&shown, d.atHub("hub", "show", name, "--json")...)
		if shown.Authentication.Type != station.AuthCA {
			t.Errorf("%+v", shown)
		}
	}
	d.write("signer.pub", d.openssl("x509", "-in", "{dir}/order-7/signer.pem", "-noout", "-pubkey"))
	d.openssl("dgst", "-sha256", "-verify", "{dir}/signer.pub", "-signature", "{dir}/order-7/report.csv.sig", "{dir}/order-7/report.csv")
}

func TestOrderIsSignedByEZCAAndEnrolledAtDPS(t *testing.T) {
	d := newDesk(t)
	if err := os.Mkdir(d.file("in"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.request("in/gw-1", "gw-1")
	names := d.cloud.EZCA()
	d.write("token", d.cloud.EZCAToken())
	args := d.atEZCA(d.atDPS("enroll", "--folder", "{dir}/in", "--order", "{dir}/order", "--sign", "ezca", "--ca-id", names.CA, "--template", names.Template,
		"--token-file", "{dir}/token", "--register", "dps", "--hub-host", sim.HubHost)...)
	if out := d.must(nil, args...); !strings.Contains(out, "not signed: no --ca was given") {
		t.Errorf("%s", out)
	}
	var e station.Enrollment
	d.must(&e, d.atDPS("dps", "show", "gw-1", "--json")...)
	if e.Attestation.Type != station.AttestX509 || e.Allocation != "static" || len(e.Hubs) != 1 || e.Hubs[0] != sim.HubHost {
		t.Errorf("%+v", e)
	}
}
