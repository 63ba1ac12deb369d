package sensors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/telemetry"
)

// plant lays out the files of text, each after a line "-- PATH --", as a machine's.
func plant(t *testing.T, text string) Machine {
	t.Helper()
	root := t.TempDir()
	path, body := "", ""
	flush := func() {
		if path == "" {
			return
		}
		file := filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(body), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "-- "); ok {
			flush()
			path, body = strings.TrimSuffix(strings.TrimSpace(name), " --"), ""
			continue
		}
		body += line
	}
	flush()
	return Machine{Root: root, Adjtimex: forbidden}
}

// field is a machine with the sensors of testdata/field.txt: laid out as the drivers bmp280, ti-ads1015, mlx90614,
// xilinx-xadc, st_accel, tsl2583 and w1_therm do.
func field(t *testing.T) Machine {
	t.Helper()
	text, err := os.ReadFile("testdata/field.txt")
	if err != nil {
		t.Fatal(err)
	}
	return plant(t, string(text))
}

func readSource(t *testing.T, s telemetry.Source) (map[string]any, string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	values, err := s.Read(ctx)
	return values, fmt.Sprint(err)
}

// same compares values as JSON, which is what leaves the device.
func same(t *testing.T, got any, want string) {
	t.Helper()
	body, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := errors.Join(json.Unmarshal(body, &a), json.Unmarshal([]byte(want), &b)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", body, want)
	}
}

func TestConvertersReadInUnitsOfTheSI(t *testing.T) {
	values, err := readSource(t, field(t).Pick("iio")[0])
	same(t, values, `{
		"bme280": {"temp": {"celsius": 22.46}, "pressure": {"pascals": 98123.4568}, "humidityrelative": {"percent": 41.3}},
		"ads1015": {"voltage0": {"volts": 0.036}, "voltage1": {"volts": 1.236}, "voltage2": {"volts": 2.436},
			"voltage3": {"volts": 3.636, "label": "tank level"}, "voltage0-voltage1": {"volts": -0.017}},
		"roof": {"voltage0": {"volts": 0.014}},
		"mlx90614": {"temp_ambient": {"celsius": 24.99}, "temp_object": {"celsius": 29.71}},
		"xadc": {"temp0": {"celsius": 47.7398193}, "voltage0_vccint": {"volts": 0.999755859}},
		"lsm9ds0": {"accel_x": {"meters_per_second2": -0.025116}, "accel_y": {"meters_per_second2": 0.007176},
			"accel_z": {"meters_per_second2": 9.797632}, "magn_x": {"tesla": 0.000016384}},
		"tsl2583": {"illuminance0": {"lux": 311}, "intensity_both": {"value": 5012}},
		"sick": {"voltage5": {"volts": -0.01}}
	}`)
	for _, broken := range []string{"voltage0: ", `voltage1: "rubbish"`, `voltage2: "100000000000000000000"`, `voltage3: "nan"`, `voltage4: "1 2 3"`, `voltage6: "inf"`} {
		if !strings.Contains(err, "in_"+broken) {
			t.Errorf("the error does not tell of %s: %s", broken, err)
		}
	}
}

func TestThermometersOnAWireAreBelievedOnlyWithTheirChecksum(t *testing.T) {
	values, err := readSource(t, field(t).Pick("w1")[0])
	same(t, values, `{"28-0316a279b5ff": {"celsius": 23.125}, "10-000802b5f9e1": {"celsius": -13.25}, "3b-0000001921e8": {"celsius": 61.5}}`)
	for sensor, why := range map[string]string{
		"28-00000badc0de": "checksum wrong", "28-000000000bad": "nothing but zeros", "28-0000050c85a5": "wakes up with",
	} {
		if !strings.Contains(err, sensor+": ") || !strings.Contains(err, why) {
			t.Errorf("the error does not say of %s that %s: %s", sensor, why, err)
		}
	}
}

// fifo puts a FIFO in place of a sensor's file: opening it hangs until somebody writes.
func fifo(t *testing.T, m Machine, path string) (release func()) {
	t.Helper()
	file := m.path(path)
	if err := errors.Join(os.RemoveAll(file), os.MkdirAll(filepath.Dir(file), 0o755), syscall.Mkfifo(file, 0o600)); err != nil {
		t.Fatal(err)
	}
	release = func() {
		if w, err := os.OpenFile(file, os.O_RDWR|syscall.O_NONBLOCK, 0); err == nil {
			_, _ = w.WriteString("72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n")
			t.Cleanup(func() { _ = w.Close() })
		}
	}
	t.Cleanup(release)
	return release
}

func TestFault46SensorThatHangsHidesNoOtherAndIsNotReadTwice(t *testing.T) {
	m := field(t)
	fifo(t, m, "sys/bus/w1/devices/28-00000badc0de/w1_slave")
	source := m.Pick("w1")[0]
	for range 3 {
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		values, err := source.Read(ctx)
		stop()
		if len(values) != 3 || !strings.Contains(fmt.Sprint(err), "28-00000badc0de ha") {
			t.Errorf("beside one that hangs: %v, %v", values, err)
		}
	}
	if n := len(crewOf(source).away); n != 1 {
		t.Errorf("%d readers hang in one sensor", n)
	}
}

func crewOf(s telemetry.Source) *crew { return s.(source).machine.crew }

func TestFault46AllReadersHangingIsToldAndBounded(t *testing.T) {
	m := Machine{Root: t.TempDir()}
	for i := range readers + 2 {
		fifo(t, m, fmt.Sprintf("sys/bus/w1/devices/28-%d/w1_slave", i))
	}
	source := m.Pick("w1")[0]
	for range 2 {
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := source.Read(ctx)
		stop()
		if n := len(crewOf(source).away); n != readers || err == nil {
			t.Errorf("%d readers are out: %v", n, err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if _, err := source.Read(ctx); !strings.Contains(fmt.Sprint(err), "28-9 was not read") {
		t.Errorf("with all readers out: %v", err)
	}
}

func TestWearIsReadWhereItIsAFile(t *testing.T) {
	m := plant(t, "-- proc/diskstats --\n8 0 sda 1 0 2 3 4 0 5 6 0 7 8\n-- sys/devices/ufshc/health_descriptor/eol_info --\n0x02\n"+
		"-- sys/devices/ufshc/health_descriptor/life_time_estimation_a --\n0x0a\n-- sys/devices/ufshc/health_descriptor/life_time_estimation_b --\n0x63\n"+
		"-- sys/devices/ufshc/host0/target0/0:0:0:0/vendor --\nSAMSUNG\n-- sys/block/sda/size --\n8\n")
	if err := os.Symlink("../../devices/ufshc/host0/target0/0:0:0:0", m.path("sys/block/sda/device")); err != nil {
		t.Fatal(err)
	}
	values, _ := readSource(t, m.Pick("disk")[0])
	sda := values["devices"].(map[string]any)["sda"].(map[string]any)
	if sda["life_used_percent"] != uint64(100) || sda["spare_blocks"] != "warning" {
		t.Errorf("a UFS at the end of its life reads as %v", sda)
	}
}

func TestClockThatNobodyKeepsIsToldFromOneThatIsKept(t *testing.T) {
	for _, c := range []struct {
		state int
		time  syscall.Timex
		want  bool
	}{{0, syscall.Timex{Status: 0x1}, true}, {5, syscall.Timex{Status: 0x1}, false}, {5, syscall.Timex{Status: 0x40}, false}, {0, syscall.Timex{Status: 0x40}, false}} {
		m := Machine{Root: t.TempDir(), Adjtimex: func(to *syscall.Timex) (int, error) { *to = c.time; return c.state, nil }}
		if values, _ := readSource(t, m.Pick("clock")[0]); values["synchronized"] != c.want {
			t.Errorf("state %d, status %#x: %v", c.state, c.time.Status, values)
		}
	}
}

func FuzzParsers(f *testing.F) {
	for _, seed := range []string{
		"72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n", "some avg10=0.12 avg60=nan avg300=1e9 total=-1\n",
		"1 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 5 1 0 0 20 0 3 0 9 1000000 500 1\n", "1 () ", "0x0b 0x01", "populated 1\n", "in_voltage0-voltage1_raw",
		"in_rot_quaternion_raw", "in__raw", "in_temp_input", "", " ", "1e20", "NaN", "-0", "\x00\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, err := scratchpad(s); err == nil && (c < -55 || c > 125) {
			t.Errorf("%q is %v °C", s, c)
		}
		values, _ := stalls(s)
		if _, err := json.Marshal(values); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if task, err := parseTask(s); err == nil && !strings.Contains(s, task.name) {
			t.Errorf("%q is the process %q", s, task.name)
		}
		if worn(s) > 110 {
			t.Errorf("%q has lived %d %% of its life", s, worn(s))
		}
		if c, ok := parseChannel(s); ok && (c.kind == "" || !strings.HasPrefix(c.name, c.kind)) {
			t.Errorf("%q is a channel %+v", s, c)
		}
		if n, err := decimal(s); err == nil && !(n <= 2e19 && n >= -2e19) {
			t.Errorf("%q is %v", s, n)
		}
		counter(s, "populated")
		_ = mounts(s)
		_ = processors(map[string]any{}, s)
		_ = averages(map[string]any{}, s)
	})
}

func TestEveryKindOfSourceIsMade(t *testing.T) {
	for _, kind := range Kinds() {
		s, err := New(Choice{Source: kind, Names: []string{"a"}, Command: sh("exit")})
		if err != nil || s.Name() != kind {
			t.Errorf("%s: %v, %v", kind, s, err)
		}
	}
	for _, kind := range []string{"", "thermals", "process", "exec"} {
		if s, err := New(Choice{Source: kind}); err == nil {
			t.Errorf("%q without anything is %v", kind, s)
		}
	}
}
