package station_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/station"
)

// floor is a factory floor: a real sshd, and behind it devices that differ in their environment.
type floor struct {
	t      *testing.T
	dir    string
	port   int
	config string // of the client
}

// agent is what devices run: csr and import, with openssl. A device is a directory with its name, and with what is
// wrong with it.
const agent = `#!/bin/sh
cd "%s/$DEVICE" || exit 9
echo "$1" >> calls
case "$1" in
csr)
	[ -e broken ] && { echo "the TPM does not answer" >&2; exit 1; }
	[ -e slow ] && exec sleep 60
	[ -e key.pem ] || openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem 2>/dev/null
	openssl req -new -key key.pem -subj "/CN=$(cat name)" ;;
import)
	cat > new.pem
	[ -e refuses ] && { echo "the chain is not good enough" >&2; exit 1; }
	openssl x509 -in new.pem -noout -pubkey > new.pub && openssl pkey -in key.pem -pubout | cmp - new.pub >&2 || exit 1
	openssl verify -CAfile ../root.pem -untrusted new.pem new.pem >&2 && mv new.pem chain.pem ;;
esac
`

func newFloor(t *testing.T, root *station.Authority, devices ...string) *floor {
	t.Helper()
	hsmtest.Require(t, "/usr/sbin/sshd", "openssh-server")
	hsmtest.Require(t, "ssh", "openssh-client")
	f := &floor{t: t, dir: t.TempDir()}
	f.write("devid-agent", fmt.Sprintf(agent, f.dir), 0o700)
	f.write("root.pem", identity.EncodeChain(root.Chain()), 0o600)
	f.key("host")
	f.key("user")
	f.serve()
	var config strings.Builder
	for _, d := range devices {
		f.device(d)
		fmt.Fprintf(&config, "Host %s\n  SetEnv DEVICE=%s\n", d, d)
	}
	fmt.Fprintf(&config, "Host unplugged\n  Port 1\nHost *\n  HostName 127.0.0.1\n  Port %d\n  IdentityFile %s\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  HostKeyAlias floor\n",
		f.port, f.file("user"), f.file("known_hosts"))
	f.write("known_hosts", "floor "+f.read("host.pub"), 0o600)
	f.config = f.write("ssh_config", config.String(), 0o600)
	return f
}

func (f *floor) file(name ...string) string {
	return filepath.Join(append([]string{f.dir}, name...)...)
}

func (f *floor) write(name, text string, mode os.FileMode) string {
	f.t.Helper()
	if err := os.WriteFile(f.file(name), []byte(text), mode); err != nil {
		f.t.Fatal(err)
	}
	return f.file(name)
}

func (f *floor) read(name ...string) string {
	b, err := os.ReadFile(f.file(name...))
	if err != nil {
		return ""
	}
	return string(b)
}

func (f *floor) key(name string) {
	f.t.Helper()
	if out, err := exec.CommandContext(f.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f.file(name)).CombinedOutput(); err != nil {
		f.t.Fatalf("ssh-keygen: %v %s", err, out)
	}
}

func (f *floor) device(name string) {
	f.t.Helper()
	if err := os.Mkdir(f.file(name), 0o700); err != nil {
		f.t.Fatal(err)
	}
	f.write(filepath.Join(name, "name"), name, 0o600)
}

// serve runs sshd for the user who runs the test, on a free port.
func (f *floor) serve() {
	f.t.Helper()
	if os.Geteuid() == 0 {
		_ = os.MkdirAll("/run/sshd", 0o755) // where sshd leaves its privileges
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	f.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	config := f.write("sshd_config", fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s\nAuthorizedKeysFile %s\nUsePAM no\nStrictModes no\nPidFile none\nAcceptEnv DEVICE\nPasswordAuthentication no\nMaxStartups 100\n",
		f.port, f.file("host"), f.file("user.pub")), 0o600)
	var said bytes.Buffer
	cmd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", config)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if f.t.Failed() {
			f.t.Logf("sshd: %s", said.Bytes())
		}
	})
	f.await()
}

func (f *floor) await() {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.port)); err == nil {
			c.Close()
			return
		}
	}
	f.t.Fatal("sshd does not listen")
}

func (f *floor) ssh() station.SSH {
	return station.SSH{Options: []string{"-F", f.config}, Agent: f.file("devid-agent")}
}

// calls is what was asked of a device.
func (f *floor) calls(device string) string {
	return strings.Join(strings.Fields(f.read(device, "calls")), " ")
}
