package hsmtest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// Chip is a tpm2-pkcs11 token: its keys are in a software TPM, behind the resource manager tpm2-abrmd.
type Chip struct {
	*Token
	tpm     *tpmtest.TPM
	manager *exec.Cmd
}

// StartChip makes a blank token of tpm2-pkcs11. It takes two seconds.
func StartChip(t testing.TB) *Chip {
	t.Helper()
	module := first(t, "/usr/lib/*/pkcs11/libtpm2_pkcs11.so", "libtpm2-pkcs11-1")
	first(t, "/usr/lib/*/libtss2-tcti-tabrmd.so.0", "libtss2-tcti-tabrmd0")
	for tool, packages := range map[string]string{"tpm2_ptool": "libtpm2-pkcs11-tools", "/usr/sbin/tpm2-abrmd": "tpm2-abrmd", "dbus-daemon": "dbus-daemon"} {
		Require(t, tool, packages)
	}
	c := &Chip{Token: blank(t, module), tpm: tpmtest.Start(t)}
	store := filepath.Join(c.dir, "store")
	if err := os.Mkdir(store, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Env = []string{"DBUS_SESSION_BUS_ADDRESS=" + c.bus(), "TPM2_PKCS11_STORE=" + store, "TPM2_PKCS11_TCTI=tabrmd:bus_type=session",
		"TPM2TOOLS_TCTI=tabrmd:bus_type=session", "TSS2_LOG=all+NONE", "PATH=" + os.Getenv("PATH")}
	c.manage()
	t.Cleanup(c.Kill)
	// Each power cut counts as a wrong PIN, and three would lock a TPM as it comes.
	c.run("tpm2_dictionarylockout", "--setup-parameters", "--max-tries=1000", "--recovery-time=1000", "--lockout-recovery-time=1000")
	c.run("tpm2_ptool", "init", "--path", store)
	c.run("tpm2_ptool", "addtoken", "--pid=1", "--label="+label, "--userpin="+PIN, "--sopin=so-5678", "--path", store)
	return c
}

func first(t testing.TB, pattern, packages string) string {
	t.Helper()
	if all, _ := filepath.Glob(pattern); len(all) > 0 {
		return all[0]
	}
	Require(t, pattern, packages)
	return ""
}

// bus is the address of a D-Bus of our own.
func (c *Chip) bus() string {
	c.t.Helper()
	cmd := exec.Command("dbus-daemon", "--session", "--nofork", "--print-address", "--address=unix:dir="+os.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	c.spawn(cmd)
	c.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

func (c *Chip) spawn(cmd *exec.Cmd) {
	c.t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// manage starts the resource manager and waits until it serves.
func (c *Chip) manage() {
	c.t.Helper()
	c.manager = exec.Command("/usr/sbin/tpm2-abrmd", "--allow-root", "--session", "--flush-all", "--tcti="+c.tpm.TCTI())
	c.manager.Env = append(os.Environ(), c.Env...)
	c.spawn(c.manager)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		ask := exec.Command("tpm2_getrandom", "--hex", "4")
		ask.Env = append(os.Environ(), c.Env...)
		if ask.Run() == nil {
			return
		}
	}
	c.t.Fatal("tpm2-abrmd does not serve after a minute")
}

// Kill takes the power from the TPM, and with it goes its resource manager.
func (c *Chip) Kill() {
	c.tpm.Kill()
	if c.manager != nil {
		_ = c.manager.Process.Kill()
		_ = c.manager.Wait()
		c.manager = nil
	}
}

// Restart gives both back.
func (c *Chip) Restart() {
	c.t.Helper()
	c.Kill()
	c.tpm.Restart()
	c.manage()
}
