package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/sim"
)

// desk is where a technician sits: a directory of his own, and the simulated cloud.
type desk struct {
	t     *testing.T
	dir   string
	cloud *sim.Cloud
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	c, err := sim.Start(context.Background(), sim.Temper{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	d := &desk{t, t.TempDir(), c}
	d.write("roots.pem", string(c.RootsPEM()))
	d.write("hub.txt", c.HubConnectionString()+"\n")
	d.write("dps.txt", c.DPSConnectionString()+"\n")
	return d
}

func (d *desk) file(name ...string) string { return filepath.Join(append([]string{d.dir}, name...)...) }

func (d *desk) write(name, text string) string {
	d.t.Helper()
	if err := os.WriteFile(d.file(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.file(name)
}

func (d *desk) read(name ...string) string {
	d.t.Helper()
	b, err := os.ReadFile(d.file(name...))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b)
}

// command runs a command line; {dir} in an argument is the desk.
func (d *desk) command(args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "{dir}", d.dir)
	}
	code = execute(d.t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// must runs a command that has to succeed, and decodes what it says into v unless that is nil.
func (d *desk) must(v any, args ...string) string {
	d.t.Helper()
	code, out, errOut := d.command(args...)
	if code != 0 {
		d.t.Fatalf("%v: %d %s%s", args, code, out, errOut)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(out), v); err != nil {
			d.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return out
}

// refused runs a command that has to fail, and to say why and what to do.
func (d *desk) refused(why string, args ...string) {
	d.t.Helper()
	code, out, errOut := d.command(args...)
	if code != exitFailure || !strings.Contains(errOut, why) || !strings.Contains(errOut, "\n  do: ") {
		d.t.Errorf("%v: %d, want a refusal because of %q with a remedy\n%s%s", args, code, why, out, errOut)
	}
}

// atHub adds how the hub is reached, and so on.
func (d *desk) atHub(args ...string) []string {
	return append(args, "--hub", "{dir}/hub.txt", "--hub-connect", d.cloud.RegistryAddr(), "--roots", "{dir}/roots.pem")
}

func (d *desk) atDPS(args ...string) []string {
	return append(args, "--dps", "{dir}/dps.txt", "--dps-connect", d.cloud.DPSHTTPAddr(), "--roots", "{dir}/roots.pem")
}

func (d *desk) atEZCA(args ...string) []string {
	return append(args, "--ezca", "https://"+sim.EZCAHost, "--ezca-connect", d.cloud.EZCAAddr(), "--roots", "{dir}/roots.pem",
		"--authority", "https://"+sim.EntraHost, "--authority-connect", d.cloud.EntraAddr())
}

func (d *desk) openssl(args ...string) string {
	d.t.Helper()
	hsmtest.Require(d.t, "openssl", "openssl")
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "{dir}", d.dir)
	}
	out, err := exec.CommandContext(d.t.Context(), "openssl", args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (d *desk) request(name, cn string) {
	d.t.Helper()
	d.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "{dir}/"+name+".key", "-subj", "/CN="+cn, "-out", "{dir}/"+name+".csr")
}

// chainOfCAs makes the authorities of the supply chain, root to technician.
func (d *desk) chainOfCAs() {
	d.t.Helper()
	parent := ""
	for _, kind := range []string{"root", "company", "factory", "technician"} {
		args := []string{"ca", "init", kind, "--ca", "{dir}/" + kind, "--cn", "Test " + kind}
		if parent != "" {
			args = append(args, "--parent", "{dir}/"+parent)
		}
		d.must(nil, args...)
		parent = kind
	}
}
