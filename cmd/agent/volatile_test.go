package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

// inside marks the test binary that was started in a mount namespace of its own.
const inside = "DEVID_TEST_MOUNTS"

// withMounts runs the calling test again where it may mount what it likes over /mnt and /srv, and nobody else sees it.
// It reports whether this is that run.
func withMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		for _, dir := range []string{"/mnt", "/srv"} { // what is mounted below it stays here, however / is shared
			if err := errors.Join(syscall.Mount(dir, dir, "", syscall.MS_BIND|syscall.MS_REC, ""), syscall.Mount("", dir, "", syscall.MS_PRIVATE, "")); err != nil {
				t.Fatal(err)
			}
		}
		return true
	}
	out, err := again(t, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	})
	if errors.Is(err, syscall.EPERM) && os.Geteuid() == 0 { // in a chroot there are no user namespaces, and no need for one
		out, err = again(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS})
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

func again(t *testing.T, as *syscall.SysProcAttr) ([]byte, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = as
	return cmd.CombinedOutput()
}

func mount(t *testing.T, kind, at, options string) {
	t.Helper()
	if err := syscall.Mount(kind, at, kind, 0, options); err != nil {
		t.Fatalf("mount %s at %s: %v", kind, at, err)
	}
}

func mkdir(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// enrollAt is what `devid-agent enroll` says to a person whose state directory is dir. The TPM is one that nobody has.
func enrollAt(t *testing.T, dir string) (code int, said string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	text := fmt.Sprintf("device: {id: gw, state: %q}\nkeys: {tpm: \"swtpm:path=/nowhere\"}\n"+
		"provisioning: {dps: {id_scope: 0ne00000001, attestation: tpm, transport: https}}\nstatus: {file: %q}\n", dir, dir+"/status.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code = execute(t.Context(), []string{"enroll", "--config", file}, &out, &errs)
	return code, errs.String()
}

func TestNoIdentityIsMadeThatTheNextBootForgets(t *testing.T) {
	if !withMounts(t) {
		return
	}
	kept := t.TempDir()
	mkdir(t, kept+"/upper", kept+"/work", kept+"/lower/state")
	mount(t, "tmpfs", "/mnt", "")
	mkdir(t, "/mnt/state", "/mnt/volatile/lib", "/mnt/volatile/.lib-work", "/mnt/a, b")
	if err := syscall.Mount(kept, "/mnt/a, b", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		layers, state string
		forgotten     string
	}{
		"tmpfs":              {"", "/mnt/state", "a tmpfs"},
		"overlay of a tmpfs": {"lowerdir=" + kept + "/lower,upperdir=/mnt/volatile/lib,workdir=/mnt/volatile/.lib-work", "/srv/state", "an overlay of memory"},
		"overlay of a disk":  {"lowerdir=" + kept + "/lower,upperdir=" + kept + "/upper,workdir=" + kept + "/work", "/srv/state", ""},
		"disk":               {"", "/mnt/a, b/state", ""},
	} {
		t.Run(what, func(t *testing.T) {
			if c.layers != "" {
				mount(t, "overlay", "/srv", c.layers)
				defer syscall.Unmount("/srv", syscall.MNT_DETACH)
			}
			code, said := enrollAt(t, c.state)
			if code != exitFailure {
				t.Errorf("exit code %d", code)
			}
			if refused := strings.Contains(said, "the next boot forgets the identity"); refused != (c.forgotten != "") {
				t.Errorf("on %s it says: %s", what, said)
			}
			if c.forgotten != "" && (!strings.Contains(said, c.state+" lies on "+c.forgotten) || !strings.Contains(said, "do: mount a file system that survives")) {
				t.Errorf("it says: %s", said)
			}
			if c.forgotten == "" && !strings.Contains(said, "/nowhere") {
				t.Errorf("it did not go on to the TPM: %s", said)
			}
		})
	}
}

func TestAnIdentityInMemoryGoesOn(t *testing.T) {
	if !withMounts(t) {
		return
	}
	mount(t, "tmpfs", "/mnt", "")
	mkdir(t, "/mnt/state/identity")
	c := defaultConfig()
	c.Device.State = "/mnt/state"
	if err := mayEnroll(c); fault.Of(err) != fault.Operator {
		t.Fatalf("before: %v", err)
	}
	inner := `{"generation":1,"key":"","device_id":"gw","hub":"hub.example","chain":""}`
	text := fmt.Sprintf(`{"version":1,"sha256":"%x","identity":%s}`, sha256.Sum256([]byte(inner)), inner)
	if err := os.WriteFile("/mnt/state/identity/current.json", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := mayEnroll(c); err != nil {
		t.Errorf("a device that works is stopped: %v", err)
	}
}

func TestUpperLayerIsThatOfTheDeepestMount(t *testing.T) {
	const mounts = `21 1 254:0 / / rw - ext4 /dev/vda rw
30 21 0:30 / /var/lib rw shared:7 - overlay overlay rw,lowerdir=/var/lib,upperdir=/var/volatile/lib,workdir=/var/volatile/.lib-work
31 30 0:30 /devid-agent /var/lib/devid-agent rw - overlay overlay rw,lowerdir=/var/lib,upperdir=/var/volatile/my\040lib,workdir=/w
32 30 0:32 / /var/lib/kept rw - ext4 /dev/vdb rw
`
	for dir, want := range map[string]string{
		"/var/lib/other":           "/var/volatile/lib/other",
		"/var/lib/devid-agent":     "/var/volatile/my lib/devid-agent", // as StateDirectory= of systemd mounts it
		"/var/lib/kept/state":      "",
		"/var/lib/devid-agent.old": "/var/volatile/lib/devid-agent.old",
		"/home":                    "",
	} {
		if got := upperIn(mounts, dir); got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add("31 30 0:30 / /a\\040b rw - overlay overlay rw,upperdir=/u\\054", "/a b/c")
	f.Add("1 2 3:4 / / rw - ext4", "/")
	f.Add("1 2 3:4 / / rw - overlay o upperdir=\\377\\400", "/x")
	f.Fuzz(func(t *testing.T, mounts, dir string) {
		if upper := upperIn(mounts, dir); upper != "" && !strings.Contains(mounts, "upperdir=") {
			t.Errorf("%q from nowhere", upper)
		}
	})
}
