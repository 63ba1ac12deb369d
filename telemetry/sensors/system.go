package sensors

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// userHZ is the unit of /proc/stat on every architecture that Go runs on (proc(5)).
const userHZ = 100

// load reads the run queue (proc_loadavg(5)) and the time that the processors have spent (proc_stat(5)).
func load(_ context.Context, m Machine) *found {
	f := nothing()
	if line, err := m.text("proc/loadavg"); err != nil {
		f.broken(err)
	} else {
		f.broken(averages(f.values, line))
	}
	if stat, err := m.text("proc/stat"); err != nil {
		f.broken(err)
	} else {
		f.broken(processors(f.values, stat))
	}
	return f
}

func averages(values map[string]any, line string) error {
	fields := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '/' })
	for i, name := range []string{"load_1m", "load_5m", "load_15m", "tasks_runnable", "tasks"} {
		if i >= len(fields) {
			return fmt.Errorf("parse loadavg: %q has no %s", line, name)
		}
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return fmt.Errorf("parse loadavg: %w", err)
		}
		values[name] = n
	}
	return nil
}

func processors(values map[string]any, stat string) error {
	first, rest, _ := strings.Cut(stat, "\n")
	ticks, err := numbers(strings.Fields(first), map[string]int{
		"cpu_user_seconds": 1, "cpu_nice_seconds": 2, "cpu_system_seconds": 3, "cpu_idle_seconds": 4, "cpu_iowait_seconds": 5})
	if err != nil {
		return fmt.Errorf("parse stat: %w", err)
	}
	for name, n := range ticks {
		values[name] = float64(n.(uint64)) / userHZ
	}
	values["cpus"] = strings.Count("\n"+rest, "\ncpu")
	return nil
}

// memoryKeys are the lines of /proc/meminfo that tell something (proc_meminfo(5)).
var memoryKeys = map[string]string{
	"MemTotal": "total_bytes", "MemFree": "free_bytes", "MemAvailable": "available_bytes", "Buffers": "buffers_bytes",
	"Cached": "cached_bytes", "Dirty": "dirty_bytes", "SwapTotal": "swap_total_bytes", "SwapFree": "swap_free_bytes",
}

func memory(_ context.Context, m Machine) *found {
	f := nothing()
	text, err := m.text("proc/meminfo")
	f.broken(err)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		key, wanted := memoryKeys[name]
		if !wanted {
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			f.broken(fmt.Errorf("parse meminfo: %s: %w", name, err))
			continue
		}
		f.values[key] = kib << 10
	}
	return f
}

// uptime reads how long the machine has been up, and which boot this is: equal IDs are the same boot.
func uptime(_ context.Context, m Machine) *found {
	f := nothing()
	line, err := m.text("proc/uptime")
	if err != nil {
		f.broken(err)
		return f
	}
	first, _, _ := strings.Cut(line, " ")
	up, err := strconv.ParseFloat(first, 64)
	if err != nil {
		f.broken(fmt.Errorf("parse uptime: %w", err))
		return f
	}
	f.values["up_seconds"] = up
	if id, err := m.text("proc/sys/kernel/random/boot_id"); err == nil && id != "" {
		f.values["boot_id"] = id
	}
	return f
}
