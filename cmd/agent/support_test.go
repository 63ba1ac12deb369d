package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

// support runs the command and returns the document.
func (d *desk) support(args ...string) (text string, b bundle) {
	d.t.Helper()
	code, out, errOut := d.command(append([]string{"support"}, args...)...)
	if code != 0 {
		d.t.Fatalf("support: %d %s", code, errOut)
	}
	if err := json.Unmarshal([]byte(out), &b); err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
	return out, b
}

// canaries are lines that only a file with a secret has.
func (d *desk) canaries() (all []string) {
	d.t.Helper()
	err := filepath.WalkDir(d.dir, func(path string, e os.DirEntry, err error) error {
		secret := strings.HasSuffix(path, ".key") || strings.Contains(path, "/keys/") || strings.HasSuffix(path, "password")
		if err != nil || e.IsDir() || !secret {
			return err
		}
		text, err := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); len(line) > 8 && !strings.HasPrefix(line, "-----") {
				all = append(all, line)
			}
		}
		return err
	})
	if err != nil || len(all) < 5 {
		d.t.Fatalf("%v: %d lines of secrets", err, len(all))
	}
	return all
}

// rootIsMounted is not so in a chroot, which lies on a mount that its processes do not see.
func rootIsMounted() bool {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	return strings.Contains(string(mounts), " / / ")
}

func TestTheSupportBundleTellsAllButSecretsAndGoesToTheHubsStorage(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud) + fmt.Sprintf("remote: {methods: [ping], upload: {connect: \"%s\", storage: \"%s\"}}\n", d.cloud.RegistryAddr(), d.cloud.BlobAddr()))
	if _, b := d.support(); b.NotRunning == nil || b.NotRunning.Hint == "" {
		t.Error("nobody learns that the agent does not run")
	}
	if code, _, errOut := d.command("support", "--upload"); code != exitFailure || !strings.Contains(errOut, "not enrolled yet") || !strings.Contains(errOut, "do: write the bundle") {
		t.Errorf("upload as nobody: %d %s", code, errOut)
	}
	stop := d.run()
	d.until("the device is online", func() bool { s := d.status(); return s.Hub != nil && s.Hub.State == "online" })
	if err := os.WriteFile(filepath.Join(d.dir, "state", "password"), []byte("a-canary-in-the-state-directory\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, blob, errOut := d.command("support", "--upload", "--out", filepath.Join(d.dir, "bundle.json"))
	if code != 0 {
		t.Fatalf("upload: %d %s", code, errOut)
	}
	all := d.cloud.Uploaded(gatewayID)
	if len(all) != 1 || !all[0].Success || all[0].Blob != strings.TrimSpace(blob) {
		t.Fatalf("%q: %+v", blob, all)
	}
	local, err := os.ReadFile(filepath.Join(d.dir, "bundle.json"))
	if err != nil || string(local) != string(all[0].Body) {
		t.Errorf("the file is not what was sent: %v", err)
	}
	var b bundle
	if err := json.Unmarshal(all[0].Body, &b); err != nil {
		t.Fatal(err)
	}
	if b.Running == nil || b.Check == nil || len(b.Identities) != 1 || len(b.Files) < 3 || len(b.Mounts) == 0 && rootIsMounted() || b.Machine["kernel"] == "" || !strings.Contains(b.Configuration, gatewayID) {
		t.Errorf("something is missing:\n%s", all[0].Body)
	}
	for _, secret := range d.canaries() {
		if strings.Contains(string(all[0].Body), secret) {
			t.Errorf("a secret is in it: %s", secret)
		}
	}
	stop()
	d.cloud.SetTemper(sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
		if p == sim.AtUpload {
			return &sim.Refusal{Code: 400022, Message: "no storage account is configured"}
		}
		return nil
	}})
	if code, _, errOut := d.command("support", "--upload"); code != exitFailure || !strings.Contains(errOut, "do: give the hub a storage container") {
		t.Errorf("a hub without storage: %d %s", code, errOut)
	}
}

func TestSecretsInTheWrongPlaceAreTakenOutOfTheBundle(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.configure(`device: {id: gateway-1}
network: {proxy: "http://user:canary-1@proxy.example.com:3128"}
keys:
  pkcs11: "pkcs11:token=gateway?pin-value=canary-2&module-path=/usr/lib/softhsm/libsofthsm2.so"
  pin: 471147
  environment: ["VENDOR_PIN=canary-3", "SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf"]
password: canary-4
provisioning: {est: {password: "canary-5", url: https://est.example.com}}
hub:
  symmetric_key: Y2FuYXJ5LTYtY2FuYXJ5LTYtY2FuYXJ5LTYtY2FuYXI=
  host: HostName=x;SharedAccessKey=canary-7
bootstrap:
  key: |
    -----BEGIN PRIVATE KEY-----
    canary-8
    -----END PRIVATE KEY-----
  certificate: "https://x/y?sv=1&sig=canary-9%3D"
`)
	text, b := d.support()
	for _, secret := range []string{"canary", "471147", "Y2FuYXJ5"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in it:\n%s", secret, text)
		}
	}
	for _, kept := range []string{"pkcs11:token=gateway?", "/etc/softhsm/softhsm2.conf", "proxy.example.com:3128", "https://est.example.com", "libsofthsm2.so"} {
		if !strings.Contains(b.Configuration, kept) {
			t.Errorf("%s is gone:\n%s", kept, b.Configuration)
		}
	}
	if len(b.Mistakes) == 0 {
		t.Error("nobody learns that the configuration has mistakes")
	}
	if code, _, errOut := d.command("support", "--upload"); code != exitFailure || !strings.Contains(errOut, "do: see devid-agent config check") {
		t.Errorf("%d %s", code, errOut)
	}
}
