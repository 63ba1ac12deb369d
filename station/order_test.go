package station_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/station"
)

// openOrder opens an order with these targets.
func openOrder(t *testing.T, dir string, step durable.Step, targets ...string) *station.Order {
	t.Helper()
	o, err := station.OpenOrder(dir, step)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	for _, target := range targets {
		if err := o.Add(target, ""); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

// folder has a request of each device in it.
func folder(t *testing.T, devices ...string) station.Folder {
	t.Helper()
	dir := t.TempDir()
	for _, d := range devices {
		text := station.EncodeRequest(request(t, newKey(t), named(d)).Raw)
		if err := os.WriteFile(filepath.Join(dir, d+".csr"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return station.Folder{Dir: dir}
}

func itemOf(t *testing.T, o *station.Order, target string) station.Item {
	t.Helper()
	for _, i := range o.Items() {
		if i.Target == target {
			return i
		}
	}
	t.Fatalf("%s is not in the order", target)
	return station.Item{}
}

func TestOrderOverSSHReachesEveryDeviceThatWorks(t *testing.T) {
	all := supplyChain(t)
	f := newFloor(t, all[0], "gw-1", "gw-2", "gw-3", "gw-4", "gw-5")
	f.write("gw-3/broken", "", 0o600)
	f.write("gw-4/refuses", "", 0o600)
	o := openOrder(t, t.TempDir(), nil, "gw-1", "gw-2", "gw-3", "gw-4", "gw-5", "unplugged")
	b := &station.Batch{Order: o, Reach: f.ssh().Reach, Signer: station.LocalSigner{Authority: all[3]}, Parallel: 3, Tries: 2, Pause: time.Millisecond}
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "3 of 6 devices") || fault.Hint(err) == "" {
		t.Errorf("run: %v", err)
	}
	for target, want := range map[string][2]string{"gw-3": {station.Queued, "the TPM does not answer"}, "gw-4": {station.Registered, "not good enough"},
		"unplugged": {station.Queued, "Connection refused"}} {
		if i := itemOf(t, o, target); i.State != want[0] || !strings.Contains(i.Error, want[1]) {
			t.Errorf("%s: %s, %s", target, i.State, i.Error)
		}
	}
	for _, device := range []string{"gw-1", "gw-2", "gw-5"} {
		if chain, err := identity.ParseChain([]byte(f.read(device, "chain.pem"))); err != nil || chain[0].Subject.CommonName != device || len(chain) != 5 {
			t.Errorf("%s has %v, %v", device, chain, err)
		}
	}
	os.Remove(f.file("gw-3", "broken"))
	os.Remove(f.file("gw-4", "refuses"))
	if err := b.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "1 of 6") {
		t.Errorf("second run: %v", err)
	}
	if got := f.calls("gw-1"); got != "csr import" {
		t.Errorf("a finished device was asked again: %s", got)
	}
	if issued := devicesOf(t, all[3]); len(issued) != 5 {
		t.Errorf("%d certificates for 5 devices", len(issued))
	}
}

// devicesOf are the certificates of devices in the journal.
func devicesOf(t *testing.T, a *station.Authority) map[string]int {
	t.Helper()
	all, err := a.Issued()
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, i := range all {
		if i.For == "device" && i.Certificate != "" {
			count[i.Subject]++
		}
	}
	return count
}

func TestSSHThatGetsNowhereSaysWhatToDo(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root})
	f := newFloor(t, root, "gw-1")
	stranger := f.ssh()
	f.key("stranger")
	stranger.Options = append(stranger.Options, "-o", "HostKeyAlias=other", "-o", "StrictHostKeyChecking=yes")
	locked := f.ssh()
	locked.Options = append([]string{"-i", f.file("stranger"), "-o", "IdentityFile=" + f.file("stranger")}, strings.Split("-F "+f.write("lone", fmt.Sprintf(
		"Host *\n  HostName 127.0.0.1\n  Port %d\n  IdentitiesOnly yes\n  UserKnownHostsFile %s\n  HostKeyAlias floor\n", f.port, f.file("known_hosts")), 0o600), " ")...)
	bare := f.ssh()
	bare.Agent = "no-such-agent"
	missing := f.ssh()
	missing.Program = "/no/such/ssh"
	for hint, s := range map[string]station.SSH{"known_hosts": stranger, "ssh-copy-id": locked, "install devid-agent": bare, "install the ssh program": missing} {
		_, err := s.Reach("gw-1").Request(t.Context())
		if err == nil || fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), hint) {
			t.Errorf("want the remedy %q: %v (%s)", hint, err, fault.Hint(err))
		}
	}
}

func TestHostCannotBeAnOptionOfSSH(t *testing.T) {
	for _, host := range []string{"", "-oProxyCommand=reboot", "gw 1", "gw;reboot", "$(reboot)"} {
		if station.CheckHost(host) == nil {
			t.Errorf("%q is a host", host)
		}
	}
	for _, host := range []string{"gw-1", "root@gw-1.local", "10.0.0.7", "fe80::1%eth0"} {
		if err := station.CheckHost(host); err != nil {
			t.Error(err)
		}
	}
}

func TestSlowDeviceIsGivenUpAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	root := found(t, station.Founding{Kind: station.Root})
	f := newFloor(t, root, "gw-1", "gw-2")
	f.write("gw-1/slow", "", 0o600)
	o := openOrder(t, t.TempDir(), nil, "gw-1", "gw-2")
	b := &station.Batch{Order: o, Reach: f.ssh().Reach, Signer: station.LocalSigner{Authority: root}, Parallel: 1, Limit: 15 * time.Second}
	if err := b.Run(t.Context()); err == nil {
		t.Error("the order is finished")
	}
	if i := itemOf(t, o, "gw-1"); !strings.Contains(i.Error, "not finished within 15s") {
		t.Errorf("gw-1: %s", i.Error)
	}
	if i := itemOf(t, o, "gw-2"); i.State != station.Installed {
		t.Errorf("gw-2: %s %s", i.State, i.Error)
	}
}

func TestChainsOfManyDevicesAreWrittenIntoOneFolderAtATime(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root})
	var names, files []string
	for n := range 40 {
		names = append(names, fmt.Sprintf("gw-%d", n))
		files = append(files, names[n]+".csr")
	}
	in := folder(t, names...)
	o := openOrder(t, t.TempDir(), nil, files...)
	b := &station.Batch{Order: o, Reach: in.Reach, Signer: station.LocalSigner{Authority: root}, Parallel: 8, Tries: 1}
	if err := b.Run(t.Context()); err != nil {
		t.Error(err)
	}
	for _, i := range o.Items() {
		if i.State != station.Installed {
			t.Errorf("%s: %s", i.Target, i.Error)
		}
	}
}

func TestDeviceThatIsNotWhatTheOrderSaysGetsNothing(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root})
	in := folder(t, "gw-1", "gw-2")
	twin, err := os.ReadFile(filepath.Join(in.Dir, "gw-2.csr"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(in.Dir, "twin.csr"), twin, 0o600); err != nil {
		t.Fatal(err)
	}
	o := openOrder(t, t.TempDir(), nil, "gw-2.csr", "twin.csr")
	if err := o.Add("gw-1.csr", "gw-9"); err != nil {
		t.Fatal(err)
	}
	b := &station.Batch{Order: o, Reach: in.Reach, Signer: station.LocalSigner{Authority: root}, Parallel: 1}
	if err := b.Run(t.Context()); err == nil {
		t.Error("the order is finished")
	}
	if i := itemOf(t, o, "gw-1.csr"); i.State != station.Queued || !strings.Contains(i.Error, `the order has "gw-9"`) {
		t.Errorf("gw-1: %s %s", i.State, i.Error)
	}
	if i := itemOf(t, o, "twin.csr"); i.State != station.Queued || !strings.Contains(i.Error, "so does gw-2.csr") {
		t.Errorf("twin: %s %s", i.State, i.Error)
	}
	if got := devicesOf(t, root); len(got) != 1 {
		t.Errorf("issued: %v", got)
	}
}

func TestDeviceWithANewKeyIsSignedAnew(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root})
	in := folder(t, "gw-1")
	o := openOrder(t, t.TempDir(), nil, "gw-1.csr")
	offline := errors.New("the hub does not answer")
	b := &station.Batch{Order: o, Reach: in.Reach, Signer: station.LocalSigner{Authority: root}, Registrar: refuses{offline}, Tries: 1}
	if err := b.Run(t.Context()); err == nil || itemOf(t, o, "gw-1.csr").State != station.Signed {
		t.Fatalf("%v, %+v", err, itemOf(t, o, "gw-1.csr"))
	}
	key := newKey(t)
	if err := os.WriteFile(filepath.Join(in.Dir, "gw-1.csr"), station.EncodeRequest(request(t, key, named("gw-1")).Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Registrar = nil
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(in.Dir, "gw-1.chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.ParseChain(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := station.CheckChain(chain, key.Public()); err != nil {
		t.Error(err)
	}
}

func TestDeviceThatTookItsChainBeforeACutIsNotSignedAgain(t *testing.T) {
	root := found(t, station.Founding{Kind: station.Root})
	f := newFloor(t, root, "gw-1")
	dir := t.TempDir()
	o := openOrder(t, dir, nil, "gw-1")
	b := &station.Batch{Order: o, Reach: f.ssh().Reach, Signer: station.LocalSigner{Authority: root}}
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.Close()
	// The cut: the device has its chain, and the journal does not say so.
	file := filepath.Join(dir, "items", "gw-1.json")
	item, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(item), `"installed"`, `"registered"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Order = openOrder(t, dir, nil)
	if err := b.Run(t.Context()); err != nil || itemOf(t, b.Order, "gw-1").State != station.Installed {
		t.Fatal(err)
	}
	if got := devicesOf(t, root); got["CN=gw-1"] != 1 || f.calls("gw-1") != "csr import import" {
		t.Errorf("issued %v, asked %s", got, f.calls("gw-1"))
	}
}

type refuses struct{ err error }

func (r refuses) Register(context.Context, string, []*x509.Certificate) error { return r.err }
