package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const noKeys = "meta-devid-agent/scripts/no-keys.sh"

// plant makes a root file system with one file in it, beside a program that has the words of a key in its text.
func plant(t *testing.T, path, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		path: text, "usr/bin/program": "\x7fELF\x00-----BEGIN PRIVATE KEY-----\nabc\x00", "etc/ssl/roots.pem": "-----BEGIN CERTIFICATE-----\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// pack makes a package of dir.
func pack(t *testing.T, dir string) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("install dpkg")
	}
	if err := os.MkdirAll(filepath.Join(dir, "DEBIAN"), 0o755); err != nil {
		t.Fatal(err)
	}
	control := "Package: planted\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: planted\n"
	if err := os.WriteFile(filepath.Join(dir, "DEBIAN/control"), []byte(control), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	deb := filepath.Join(t.TempDir(), "planted.deb")
	if out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", dir, deb).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return deb
}

func TestWhatIsOfOneDeviceIsFoundInImageAndPackage(t *testing.T) {
	for path, text := range map[string]string{
		"etc/devid-agent/bootstrap.key":                  "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n",
		"usr/share/doc/example.pem":                      "a comment\n-----BEGIN PRIVATE KEY-----\nMHcC\n",
		"etc/ssh/host":                                   "-----BEGIN OPENSSH PRIVATE KEY-----\n",
		"root/blob":                                      "-----BEGIN TSS2 PRIVATE KEY-----\n",
		"etc/machine-id":                                 "0123456789abcdef0123456789abcdef\n",
		"var/lib/devid-agent/identity/current.json":      "{}",
		"var/lib/devid-agent/keys/device-g1.tss2.pem":    "",
		"etc/dropbear/dropbear_rsa_host_key":             "",
		"var/lib/devid-agent/spool/00000000000000000001": "",
	} {
		dir := plant(t, path, text)
		for _, what := range []string{dir, pack(t, dir)} {
			out, err := exec.Command("sh", noKeys, what).CombinedOutput()
			if err == nil || !strings.Contains(string(out), path+"\n") {
				t.Errorf("%s passes in %s: %s", path, filepath.Base(what), out)
			}
		}
		cmd := exec.Command("sh", noKeys, dir)
		cmd.Env = append(os.Environ(), "DEVID_KEYS_ALLOWED=^"+path+"$")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s is allowed, and refused: %s", path, out)
		}
	}
}

func TestWhatIsOfNoDevicePasses(t *testing.T) {
	for path, text := range map[string]string{"etc/machine-id": "uninitialized\n", "etc/devid-agent/agent.yaml": "device:\n  #id: gateway-0042\n"} {
		dir := plant(t, path, text)
		if out, err := exec.Command("sh", noKeys, dir, pack(t, dir)).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", path, out)
		}
	}
}

// TestNoKeyIsInThePackagesThatAreBuilt looks at what make dist and make deb have left here, and at what goes into packages.
func TestNoKeyIsInThePackagesThatAreBuilt(t *testing.T) {
	places := []string{"meta-devid-agent", root + "/packaging/boot", root + "/packaging/dropins", root + "/packaging/man", root + "/packaging/completion"}
	debs, err := filepath.Glob(root + "/dist/deb/*.deb")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", append([]string{noKeys}, append(places, debs...)...)...).CombinedOutput(); err != nil {
		t.Errorf("%s", out)
	}
}
