package sensors

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/telemetry"
)

// Bits and states of adjtimex(2).
const (
	timeError = 5      // TIME_ERROR: the clock is not synchronised to a reliable server
	unsynced  = 0x0040 // STA_UNSYNC
	nano      = 0x2000 // STA_NANO: the offset is in ns, not in µs
)

// clock reads whether somebody keeps the clock right, and how well. Reading needs no privilege; a sandbox that forbids the
// call altogether leaves the source empty.
func clock(_ context.Context, m Machine) *found {
	f := nothing()
	var t syscall.Timex
	state, err := m.Adjtimex(&t)
	if err != nil {
		if err != syscall.EPERM && err != syscall.ENOSYS {
			f.broken(fmt.Errorf("adjtimex: %w", err))
		}
		return f
	}
	unit := 1e6
	if t.Status&nano != 0 {
		unit = 1e9
	}
	f.values["synchronized"] = state != timeError && t.Status&unsynced == 0
	f.values["offset_seconds"] = float64(t.Offset) / unit
	f.values["error_seconds"] = float64(t.Maxerror) / 1e6
	f.values["frequency_ppm"] = telemetry.Nine(float64(t.Freq) / 65536)
	return f
}

// kernel reads what tells a sound kernel from one that has had trouble since boot.
func kernel(_ context.Context, m Machine) *found {
	f := nothing()
	if release, err := m.text("proc/sys/kernel/osrelease"); err == nil && release != "" {
		f.values["release"] = release
	}
	for file, key := range map[string]string{"proc/sys/kernel/tainted": "tainted", "proc/sys/kernel/random/entropy_avail": "entropy_bits"} {
		if n, err := m.integer(file); err == nil {
			f.values[key] = n
		} else {
			f.broken(err)
		}
	}
	if text, err := m.text("proc/vmstat"); err != nil {
		f.broken(err)
	} else if n, ok := counter(text, "oom_kill"); ok {
		f.values["oom_kills"] = n
	}
	if text, err := m.text("proc/sys/fs/file-nr"); err != nil {
		f.broken(err)
	} else if files, err := numbers(strings.Fields(text), map[string]int{"files_open": 0}); err != nil {
		f.broken(fmt.Errorf("parse file-nr: %w", err))
	} else {
		f.values["files_open"] = files["files_open"]
	}
	return f
}

// counter is the number behind a name at the beginning of a line.
func counter(text, name string) (n uint64, ok bool) {
	for line := range strings.Lines(text) {
		if number, found := strings.CutPrefix(line, name+" "); found {
			n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
