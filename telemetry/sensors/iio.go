package sensors

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/devid-agent/devid-agent/telemetry"
)

// units say what one of the kernel's units is in ours (Documentation/ABI/testing/sysfs-bus-iio). What is not here has no
// unit in the kernel either, and is told as a "value".
var units = map[string]struct {
	name string
	per  float64 // kernel's units in one of ours
}{
	"voltage": {"volts", 1e3}, "altvoltage": {"volts", 1e3}, "current": {"amperes", 1e3}, "altcurrent": {"amperes", 1e3},
	"power": {"watts", 1e3}, "energy": {"joules", 1}, "temp": {"celsius", 1e3}, "humidityrelative": {"percent", 1e3},
	"pressure": {"pascals", 1e-3}, "illuminance": {"lux", 1}, "accel": {"meters_per_second2", 1}, "gravity": {"meters_per_second2", 1},
	"anglvel": {"radians_per_second", 1}, "velocity": {"meters_per_second", 1}, "magn": {"tesla", 1e4}, "proximity": {"meters", 1},
	"distance": {"meters", 1}, "angl": {"radians", 1}, "incli": {"degrees", 1}, "rot": {"degrees", 1}, "resistance": {"ohms", 1},
	"capacitance": {"farads", 1e9}, "electricalconductivity": {"siemens_per_meter", 1}, "concentration": {"percent", 1},
	"massconcentration": {"micrograms_per_m3", 1}, "positionrelative": {"percent", 1e3}, "ph": {"ph", 1}, "phase": {"radians", 1},
}

// iio reads the channels of Industrial I/O devices: converters, sensors of climate, motion and light. By the device's
// label where it has one, else by the name of its driver.
func iio(ctx context.Context, m Machine) *found {
	f := nothing()
	var keys []string
	dirs := map[string]string{}
	for _, dir := range m.entries(f, "sys/bus/iio/devices") {
		if !strings.HasPrefix(dir, "iio:device") {
			continue // a trigger
		}
		key := f.name(m.called(dir))
		keys, dirs[key] = append(keys, key), m.path("sys/bus/iio/devices", dir)
	}
	m.crew.read(ctx, f, keys, func(key string) (any, error) { return converter(dirs[key]) })
	return f
}

func (m Machine) called(dir string) string {
	for _, file := range []string{"label", "name"} {
		if name, err := m.text("sys/bus/iio/devices", dir, file); err == nil && name != "" {
			return name
		}
	}
	return dir
}

// converter reads the channels of the device in dir. Those that are broken hide no others.
func converter(dir string) (any, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string]bool{}
	for _, e := range list {
		files[e.Name()] = true
	}
	values, errs := map[string]any{}, []error(nil)
	for _, e := range list {
		c, ok := parseChannel(e.Name())
		if !ok || c.raw && files["in_"+c.name+"_input"] {
			continue
		}
		v, err := c.read(dir, files)
		if err != nil && !absent(err) {
			errs = append(errs, fmt.Errorf("in_%s: %w", c.name, err))
		}
		if err == nil {
			values[c.name] = v
		}
	}
	if len(values) == 0 {
		return nil, errors.Join(errs...)
	}
	return values, errors.Join(errs...)
}

// iioChannel is a file in_NAME_raw or in_NAME_input, with NAME like voltage0, voltage0-voltage1, accel_x, temp_ambient.
type iioChannel struct {
	name string
	kind string // the letters that NAME begins with
	raw  bool
}

func parseChannel(file string) (c iioChannel, ok bool) {
	name, ok := strings.CutPrefix(file, "in_")
	if c.name, c.raw = strings.CutSuffix(name, "_raw"); !c.raw {
		if c.name, ok = strings.CutSuffix(name, "_input"); !ok {
			return c, false
		}
	}
	end := strings.IndexFunc(c.name, func(r rune) bool { return r < 'a' || r > 'z' })
	if c.kind = c.name; end >= 0 {
		c.kind = c.name[:end]
	}
	// A quaternion is four numbers, of no use one by one.
	return c, ok && c.kind != "" && c.name != "rot_quaternion"
}

// families are the names under which the channel may share a scale or an offset with others, the closest first: its own,
// without numbers, without what stands behind them.
func (c iioChannel) families() []string {
	plain := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, c.name)
	bare, _, _ := strings.Cut(c.name, "_")
	return []string{"in_" + c.name + "_", "in_" + plain + "_", "in_" + bare + "_", "in_" + c.kind + "_", "in_", ""}
}

// shared is the number in the closest file of this ending; usual where there is none.
func (c iioChannel) shared(dir string, files map[string]bool, ending string, usual float64) (n float64, there bool, err error) {
	for _, family := range c.families() {
		if files[family+ending] {
			n, err = readDecimal(dir + "/" + family + ending)
			return n, true, err
		}
	}
	return usual, false, nil
}

// read is the channel in our unit: (raw + offset) · scale where the driver leaves that to us.
func (c iioChannel) read(dir string, files map[string]bool) (map[string]any, error) {
	unit, known := units[c.kind]
	if !c.raw {
		n, err := readDecimal(dir + "/in_" + c.name + "_input")
		if !known {
			unit.name, unit.per = "value", 1
		}
		return c.label(dir, map[string]any{unit.name: telemetry.Nine(n / unit.per)}), err
	}
	raw, err := readDecimal(dir + "/in_" + c.name + "_raw")
	if err != nil {
		return nil, err
	}
	offset, _, err := c.shared(dir, files, "offset", 0)
	if err != nil {
		return nil, err
	}
	scale, scaled, err := c.shared(dir, files, "scale", 1)
	if err != nil {
		return nil, err
	}
	if !scaled || !known {
		return c.label(dir, map[string]any{"value": telemetry.Nine((raw + offset) * scale)}), nil
	}
	return c.label(dir, map[string]any{unit.name: telemetry.Nine((raw + offset) * scale / unit.per)}), nil
}

func (c iioChannel) label(dir string, values map[string]any) map[string]any {
	if label, err := read(dir + "/in_" + c.name + "_label"); err == nil && label != "" {
		values["label"] = label
	}
	return values
}

func readDecimal(path string) (float64, error) {
	s, err := read(path)
	if err != nil {
		return 0, err
	}
	return decimal(s)
}
