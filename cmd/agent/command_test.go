package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// desk is a device with a real TPM and a cloud on real sockets, driven by command lines.
type desk struct {
	t     *testing.T
	dir   string
	file  string // agent.yaml
	tpm   *tpmtest.TPM
	cloud *sim.Cloud
}

func newDesk(t *testing.T, temper sim.Temper, extra string) *desk {
	t.Helper()
	dir, err := os.MkdirTemp("", "desk-") // short, for the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cloud, err := sim.Start(t.Context(), temper)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cloud.Close() })
	d := &desk{t: t, dir: dir, file: filepath.Join(dir, "agent.yaml"), tpm: tpmtest.Start(t), cloud: cloud}
	bootstrapped(t, dir, cloud)
	d.configure(fmt.Sprintf(`device: {id: %s, state: state}
keys: {tpm: "%s"}
bootstrap: {certificate: bootstrap.pem, key: bootstrap.key}
telemetry:
  sensors: {interval: 200ms}
  ingest: {socket: run/ingest.sock}
status: {file: run/status.json}
`, gatewayID, d.tpm.TCTI()) + extra)
	return d
}

// azure is the part of the configuration that names the simulated cloud.
func azure(c *sim.Cloud) string {
	return fmt.Sprintf(`provisioning: {dps: {id_scope: %s, connect: "%s", roots: roots.pem}}
hub: {connect: "%s", roots: roots.pem}
`, sim.IDScope, c.DPSAddr(), c.HubAddr())
}

func (d *desk) configure(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.file, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// append adds to the configuration.
func (d *desk) append(text string) {
	d.t.Helper()
	b, err := os.ReadFile(d.file)
	if err != nil {
		d.t.Fatal(err)
	}
	d.configure(string(b) + text)
}

// command runs one command line and returns what it said.
func (d *desk) command(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	code = execute(d.t.Context(), append(args, "--config", d.file), &o, &e)
	return code, o.String(), e.String()
}

// run is the agent until stop is called.
func (d *desk) run() (stop func()) {
	ctx, cancel := context.WithCancel(d.t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		var out, errOut bytes.Buffer
		if code := execute(ctx, []string{"run", "--config", d.file}, &out, &errOut); code != 0 {
			d.t.Errorf("run ended with %d: %s", code, errOut.String())
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wait.Wait() })
	d.t.Cleanup(stop)
	return stop
}

// patience is how long anything may take that happens in real time, on the slowest machine that runs these tests. Nothing
// passes because it is short.
const patience = 5 * time.Minute

func (d *desk) until(what string, is func() bool) {
	d.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// status is what the running agent says, the zero status before it says anything.
func (d *desk) status() (s status) {
	if _, out, _ := d.command("status", "--json"); out != "" {
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			d.t.Errorf("status --json: %v\n%s", err, out)
		}
	}
	return s
}

func TestEnrollThenCheckThenRenewByHand(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	code, out, _ := d.command("check")
	if code != exitFailure || !strings.Contains(out, "not enrolled yet") || !strings.Contains(out, "ok    key store") || !strings.Contains(out, "ok    bootstrap") {
		t.Errorf("check before enrollment: %d\n%s", code, out)
	}
	d.tpm.Kill()
	if _, out, _ := d.command("check"); !strings.Contains(out, "FAIL  key store") {
		t.Errorf("check without a TPM:\n%s", out)
	}
	d.tpm.Restart()
	for _, want := range []string{"generation 1,", "generation 1,"} { // the second changes nothing
		if code, out, errOut := d.command("enroll"); code != 0 || !strings.Contains(out, want) {
			t.Fatalf("enroll: %d %s%s", code, out, errOut)
		}
	}
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Fatalf("renew: %d %s%s", code, out, errOut)
	}
	code, out, _ = d.command("check", "--json")
	var f findings
	if err := json.Unmarshal([]byte(out), &f); err != nil || code != 0 || !f.OK {
		t.Fatalf("check: %d, %v\n%s", code, err, out)
	}
	if f.Key == nil || !f.Key.Refused || !strings.Contains(strings.Join(f.Key.Attributes, " "), "fixedTPM") {
		t.Errorf("the key as check sees it: %+v", f.Key)
	}
	if n := len(d.cloud.Issued(gatewayID)); n != 2 {
		t.Errorf("%d certificates were issued", n)
	}
	if n := d.tpm.Handles(); n != 0 {
		t.Errorf("%d objects are left in the TPM", n)
	}
}

func TestRenewReachesTheRunningAgent(t *testing.T) {
	d := newDesk(t, sim.Temper{IssueDelay: 200 * time.Millisecond}, "")
	d.append(azure(d.cloud))
	stop := d.run()
	d.until("the agent enrolls", func() bool { s := d.status(); return s.Hub != nil && s.Hub.State == "online" })
	forwardToSelf(t, d)
	s := d.status()
	stop()
	if s.Identity.Generation != 2 || s.Hub.Switches != 2 || s.Hub.LastGapMS <= 0 || len(s.Troubles) != 0 {
		t.Errorf("status after the renewal: %+v %+v %v", s.Identity, s.Hub, s.Troubles)
	}
	if code, _, errOut := d.command("status"); code != 0 && !strings.Contains(errOut, "not running") {
		t.Errorf("status after the end: %d %s", code, errOut)
	}
}

// forwardToSelf asks the agent in this very process to renew: the signal arrives where run listens.
func forwardToSelf(t *testing.T, d *desk) {
	t.Helper()
	code, out, errOut := d.command("renew")
	if code != 0 || !strings.Contains(out, "generation 2,") {
		t.Fatalf("renew: %d %s%s", code, out, errOut)
	}
	d.until("the status follows", func() bool { return d.status().Identity.Generation == 2 })
}

func TestAnEnrolledDeviceStartsWithoutItsBootstrapCredential(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	if code, _, errOut := d.command("enroll"); code != 0 {
		t.Fatal(errOut)
	}
	if err := os.Remove(filepath.Join(d.dir, "bootstrap.key")); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := d.command("renew"); code != 0 || !strings.Contains(out, "generation 2,") {
		t.Errorf("renew: %d %s%s", code, out, errOut)
	}
	if code, out, _ := d.command("check"); code != exitFailure || !strings.Contains(out, "FAIL  bootstrap") {
		t.Errorf("check: %d, and it does not say that the way back is missing\n%s", code, out)
	}
}

func TestASecondAgentIsRefusedAndTheFirstGoesOn(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.run()
	d.until("the agent runs", func() bool { return d.status().PID != 0 })
	code, _, errOut := d.command("run")
	if code != exitFailure || !strings.Contains(errOut, "another devid-agent") || !strings.Contains(errOut, fmt.Sprint(os.Getpid())) {
		t.Errorf("a second agent: %d %s", code, errOut)
	}
}

func TestBadConfigurationIsExit78WithLineFieldAndRemedy(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "hub: {hst: x}\ntelemetry2: 1\n")
	for _, cmd := range []string{"run", "enroll", "renew", "status", "check", "config check"} {
		code, _, errOut := d.command(strings.Fields(cmd)...)
		if code != exitConfig || !strings.Contains(errOut, "agent.yaml:") || !strings.Contains(errOut, "hub.hst") || !strings.Contains(errOut, "did you mean") || !strings.Contains(errOut, "telemetry2") {
			t.Errorf("%s: %d\n%s", cmd, code, errOut)
		}
	}
	for _, cmd := range []string{"run", "enroll", "renew", "status", "check", "csr", "key list"} {
		var said outcome
		_, out, _ := d.command(append(strings.Fields(cmd), "--json")...)
		if err := json.Unmarshal([]byte(out), &said); err != nil || said.Trouble == nil || !strings.Contains(said.Trouble.Error, "hub.hst") {
			t.Errorf("%s --json: %v\n%s", cmd, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(d.dir, "state")); err == nil {
		t.Error("something was touched in spite of it")
	}
}

func TestUsage(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := execute(t.Context(), []string{"enrol"}, &out, &errOut); code != exitUsage || !strings.Contains(errOut.String(), "enroll") {
		t.Errorf("%d %s", code, errOut.String())
	}
	out.Reset()
	if code := execute(t.Context(), []string{"version", "--json"}, &out, &errOut); code != 0 || !strings.Contains(out.String(), `"go"`) {
		t.Errorf("%d %s", code, out.String())
	}
	errOut.Reset()
	if code := execute(t.Context(), []string{"--help"}, &out, &errOut); code != 0 || !strings.Contains(errOut.String(), "config check") {
		t.Errorf("--help: %d %s", code, errOut.String())
	}
}

func TestFault19ReadingsAreTakenInWhileThereIsNoTPM(t *testing.T) {
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	d.tpm.Kill()
	d.run()
	d.until("readings wait", func() bool { return d.status().Spool.Depth > 2 })
	d.until("the status names the TPM", func() bool { return strings.Contains(d.status().Troubles["renewal"].Error, "tpm") })
	d.tpm.Restart()
	d.until("the device comes online by itself", func() bool { s := d.status(); return s.Hub != nil && s.Hub.State == "online" })
	d.until("what waited arrives", func() bool { return len(d.cloud.Received(gatewayID)) > 3 })
}

func TestSystemdIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "1000000")
	d := newDesk(t, sim.Temper{}, "")
	d.append(azure(d.cloud))
	stop := d.run()
	said := func(want string) {
		t.Helper()
		for buf := make([]byte, 4096); ; {
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("%s was not said: %v", want, err)
			}
			if strings.Contains(string(buf[:n]), want) {
				return
			}
		}
	}
	said("READY=1")
	said("WATCHDOG=1")
	said("STATUS=online as gateway-0042")
	go stop()
	said("STOPPING=1")
}
