package sensors

import (
	"context"
	"strconv"
	"strings"
)

// reserves are the states of an eMMC's and a UFS's spare blocks (JESD84-B51, PRE_EOL_INFO; JESD220, bPreEOLInfo).
var reserves = map[uint64]string{1: "normal", 2: "warning", 3: "urgent"}

// wear adds what a medium says of its own life, where that is a file: eMMC
// (Documentation/driver-api/mmc/mmc-dev-attrs.rst) and UFS (Documentation/ABI/testing/sysfs-driver-ufs).
func (m Machine) wear(values map[string]any, name string) {
	// The device directory is a symbolic link, so that its parents are not to be had by cleaning the path.
	host := m.path("sys/block", name, "device") + "/../../../health_descriptor"
	life, eol := "life_time", "pre_eol_info"
	worst, _ := m.text("sys/block", name, "device", life)
	spare, _ := m.text("sys/block", name, "device", eol)
	if worst == "" && spare == "" {
		a, _ := read(host + "/life_time_estimation_a")
		b, _ := read(host + "/life_time_estimation_b")
		worst = a + " " + b
		spare, _ = read(host + "/eol_info")
	}
	if used := worn(worst); used > 0 {
		values["life_used_percent"] = used
	}
	if n, err := strconv.ParseUint(spare, 0, 8); err == nil && reserves[n] != "" {
		values["spare_blocks"] = reserves[n]
	}
}

// worn is the most that a medium says to have spent of its life: counts of tenths, rounded up (JESD84-B51,
// DEVICE_LIFE_TIME_EST_TYP_A and _B). Eleven tenths is more than all of it.
func worn(life string) (percent uint64) {
	for word := range strings.FieldsSeq(life) {
		if tenths, err := strconv.ParseUint(word, 0, 8); err == nil && tenths <= 11 {
			percent = max(percent, tenths*10)
		}
	}
	return percent
}

// flash reads raw NAND below UBI (Documentation/ABI/stable/sysfs-class-ubi): its wear, and what is left to replace bad
// blocks with.
func (m Machine) flash(ctx context.Context, f *found) map[string]any {
	flash := map[string]any{}
	for _, dir := range m.entries(f, "sys/class/ubi") {
		if !strings.HasPrefix(dir, "ubi") || strings.Contains(dir, "_") || ctx.Err() != nil {
			continue // ubi0_1 is a volume
		}
		values := map[string]any{}
		for file, key := range map[string]string{"max_ec": "erasures", "bad_peb_count": "bad_blocks", "reserved_for_bad": "spare_blocks"} {
			if n, err := m.integer("sys/class/ubi", dir, file); err == nil {
				values[key] = n
			} else {
				f.broken(err)
			}
		}
		if len(values) > 0 {
			flash[dir] = values
		}
	}
	return flash
}
