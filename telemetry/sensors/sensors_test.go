package sensors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/telemetry"
)

var update = flag.Bool("update", false, "write the golden files")

// gateway is a machine of fixed files: an ARM gateway with a few broken parts.
var gateway = Machine{Root: "testdata/gateway", Statfs: func(path string, to *syscall.Statfs_t) error {
	if strings.HasSuffix(path, "/broken") {
		return syscall.EIO
	}
	*to = syscall.Statfs_t{Bsize: 4096, Frsize: 1024, Blocks: 1000, Bfree: 500, Bavail: 400, Files: 64, Ffree: 32}
	return nil
}, Adjtimex: kept}

// kept is a clock that a server keeps right: chrony, with the offset in nanoseconds.
func kept(to *syscall.Timex) (int, error) {
	*to = syscall.Timex{Status: 0x2001, Offset: -31250, Maxerror: 1500, Freq: 65536 * 12}
	return 0, nil
}

// forbidden is a clock in a sandbox.
func forbidden(*syscall.Timex) (int, error) { return -1, syscall.EPERM }

// sample reads all sources of m as the sampler does.
func sample(t *testing.T, m Machine) (values map[string]any, errs map[string]error) {
	t.Helper()
	values, errs = map[string]any{}, map[string]error{}
	for _, s := range m.Pick() {
		v, err := s.Read(t.Context())
		if len(v) > 0 {
			values[s.Name()] = v
		}
		if err != nil {
			errs[s.Name()] = err
		}
	}
	return values, errs
}

func TestGatewayReadsAsTheGoldenSample(t *testing.T) {
	values, _ := sample(t, gateway)
	got, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/gateway.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the gateway reads as\n%s\nwant\n%s", got, want)
	}
}

func TestBrokenPartsAreToldAndHideNoOthers(t *testing.T) {
	values, errs := sample(t, gateway)
	for source, part := range map[string]string{
		"thermal": "thermal_zone10", "hwmon": "in0_input", "disk": "/broken", "network": "bad0", "pressure": "avg10=nan",
	} {
		if err := errs[source]; err == nil || !strings.Contains(err.Error(), part) || errors.Is(err, telemetry.ErrNoData) {
			t.Errorf("%s: error %v, want one that names %s", source, err, part)
		}
		if values[source] == nil {
			t.Errorf("%s: its sound parts are missing", source)
		}
	}
	if err := errs["disk"]; err == nil || !strings.Contains(err.Error(), "sdb") {
		t.Errorf("disk: error %v, want one that names sdb", err)
	}
	for _, sound := range []string{"load", "memory", "uptime", "clock", "kernel"} {
		if errs[sound] != nil {
			t.Errorf("%s: %v", sound, errs[sound])
		}
	}
}

func TestMachineWithoutAnythingIsNoFault(t *testing.T) {
	for _, s := range (Machine{Root: t.TempDir(), Adjtimex: forbidden}).Pick(Names()...) {
		if values, err := s.Read(t.Context()); !errors.Is(err, telemetry.ErrNoData) || len(values) > 0 {
			t.Errorf("%s of an empty machine: %v, %v", s.Name(), values, err)
		}
	}
}

func TestUnreadableIsNotAbsent(t *testing.T) {
	for source, file := range map[string]string{
		"load": "proc/loadavg", "memory": "proc/meminfo", "uptime": "proc/uptime", "network": "proc/net/dev",
		"disk": "proc/diskstats", "thermal": "sys/class/thermal/thermal_zone0/temp", "hwmon": "sys/class/hwmon/hwmon0/temp1_input",
		"pressure": "proc/pressure/io", "kernel": "proc/vmstat", "w1": "sys/bus/w1/devices/28-1/w1_slave", "iio": "sys/bus/iio/devices/iio:device0/in_temp_raw",
	} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, file), 0o755); err != nil { // reading a directory is EISDIR, for root as well
			t.Fatal(err)
		}
		if _, err := (Machine{Root: root, Adjtimex: forbidden}).Pick(source)[0].Read(t.Context()); err == nil || errors.Is(err, telemetry.ErrNoData) {
			t.Errorf("%s: an unreadable %s is reported as %v", source, file, err)
		}
	}
}

func TestSleepingDeviceIsAbsent(t *testing.T) {
	for _, err := range []error{syscall.ENODATA, syscall.ENXIO, syscall.ENODEV, syscall.EAGAIN} {
		if !absent(&os.PathError{Op: "read", Path: "temp1_input", Err: err}) {
			t.Errorf("%v counts as broken", err)
		}
	}
	if absent(syscall.EIO) {
		t.Error("EIO counts as absent")
	}
}

func TestThisMachineReads(t *testing.T) {
	for _, s := range Pick("load", "memory", "uptime") {
		values, err := s.Read(t.Context())
		if err != nil || len(values) == 0 {
			t.Errorf("%s: %v, %v", s.Name(), values, err)
		}
	}
	values, errs := sample(t, Machine{})
	if _, err := json.Marshal(values); err != nil {
		t.Errorf("not JSON: %v", err)
	}
	memory := values["memory"].(map[string]any)
	if total, free := memory["total_bytes"].(uint64), memory["free_bytes"].(uint64); free == 0 || free > total || total < 16<<20 {
		t.Errorf("memory: %d of %d bytes are free", free, total)
	}
	t.Logf("errors here: %v", errs)
}

func TestBrokenZoneDoesNotLendItsName(t *testing.T) {
	root := t.TempDir()
	for zone, temp := range map[string]string{"thermal_zone0": "broken", "thermal_zone1": "42000"} {
		dir := filepath.Join(root, "sys/class/thermal", zone)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "type"), []byte("soc\n"), 0o644),
			os.WriteFile(filepath.Join(dir, "temp"), []byte(temp), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	values, err := (Machine{Root: root}).Pick("thermal")[0].Read(t.Context())
	if err == nil || len(values) != 1 || values["soc_2"] == nil {
		t.Errorf("with zone 0 broken, zone 1 reads as %v (%v), want soc_2", values, err)
	}
}

func TestDeadlineEndsASource(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range gateway.Pick() {
		if _, err := s.Read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", s.Name(), err)
		}
	}
}

func TestPickTakesOnlyWhatIsNamed(t *testing.T) {
	var got []string
	for _, s := range Pick("disk", "load") {
		got = append(got, s.Name())
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"disk", "load"}) || len(Pick()) != len(Names())-2 || len(Pick("w1", "iio")) != 2 {
		t.Errorf("picked %v, and %d of %d without names", got, len(Pick()), len(Names()))
	}
}
