package sensors

import (
	"context"
	"strings"
)

// thermal reads the thermal zones (Documentation/ABI/testing/sysfs-class-thermal), by the zone's type.
func thermal(ctx context.Context, m Machine) *found {
	f := nothing()
	for _, zone := range m.entries(f, "sys/class/thermal") {
		if !strings.HasPrefix(zone, "thermal_zone") || ctx.Err() != nil {
			continue
		}
		name, err := m.text("sys/class/thermal", zone, "type")
		if err != nil || name == "" {
			f.broken(err)
			name = zone
		}
		key := f.name(name)
		milli, err := m.integer("sys/class/thermal", zone, "temp")
		if err != nil {
			f.broken(err)
			continue
		}
		f.values[key] = map[string]any{"celsius": float64(milli) / 1e3}
	}
	return f
}

// scales say what one count of the kernel is.
var scales = map[string]struct {
	unit string
	per  float64
}{
	"temp": {"celsius", 1e3}, "fan": {"rpm", 1}, "in": {"volts", 1e3}, "curr": {"amperes", 1e3},
	"power": {"watts", 1e6}, "humidity": {"percent", 1e3},
}

// measurement names the channel that a file in a hwmon directory is a measurement of, temp1 of temp1_input, and its kind;
// "" where it is none (Documentation/hwmon/sysfs-interface).
func measurement(file string) (name, kind string) {
	name, what, _ := strings.Cut(file, "_")
	kind = strings.TrimRight(name, "0123456789")
	if _, known := scales[kind]; !known || kind == name || what != "input" && what != "average" {
		return "", ""
	}
	return name, kind
}

// hwmon reads the chips of the hardware monitor, by the chip's name and the channel's.
func hwmon(ctx context.Context, m Machine) *found {
	f := nothing()
	for _, dir := range m.entries(f, "sys/class/hwmon") {
		chip := map[string]any{}
		for _, file := range m.entries(f, "sys/class/hwmon", dir) {
			if name, kind := measurement(file); name != "" && ctx.Err() == nil {
				m.measure(f, chip, name, kind, dir, file)
			}
		}
		name, err := m.text("sys/class/hwmon", dir, "name")
		if err != nil || name == "" {
			name = dir
		}
		if key := f.name(name); len(chip) > 0 {
			f.values[key] = chip
		}
	}
	return f
}

// measure adds a channel of a chip, unless it says itself that it is at fault.
func (m Machine) measure(f *found, chip map[string]any, name, kind, dir, file string) {
	if fault, err := m.integer("sys/class/hwmon", dir, name+"_fault"); err == nil && fault != 0 {
		return
	}
	if chip[name] != nil {
		return // input and average of one channel: the first is enough
	}
	count, err := m.integer("sys/class/hwmon", dir, file)
	if err != nil {
		f.broken(err)
		return
	}
	values := map[string]any{scales[kind].unit: float64(count) / scales[kind].per}
	if label, err := m.text("sys/class/hwmon", dir, name+"_label"); err == nil && label != "" {
		values["label"] = label
	}
	chip[name] = values
}
