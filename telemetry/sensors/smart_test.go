package sensors

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

func TestSMARTIsReadWhereTheKernelLetsUs(t *testing.T) {
	m := plant(t, "-- proc/diskstats --\n259 0 nvme0n1 1 0 2 3 4 0 5 6 0 7 8\n179 0 mmcblk0 1 0 2 3 4 0 5 6 0 7 8\n"+
		"-- sys/block/nvme0n1/size --\n8\n-- sys/block/mmcblk0/size --\n8\n")
	asked := ""
	m.SMART = func(controller string, log []byte) error {
		asked += controller
		log[0], log[3], log[5] = 1, 4, 101
		binary.LittleEndian.PutUint64(log[128:], 8760)
		binary.LittleEndian.PutUint64(log[144:], 12)
		binary.LittleEndian.PutUint64(log[160:], 3)
		return nil
	}
	device := func() map[string]any {
		t.Helper()
		values, _ := readSource(t, m.Pick("disk")[0])
		return values["devices"].(map[string]any)["nvme0n1"].(map[string]any)
	}
	got := device()
	for name, want := range map[string]any{
		"life_used_percent": 101, "spare_percent": 4, "spare_blocks": "urgent", "up_hours": 8760, "unsafe_shutdowns": 12, "media_errors": 3, "reads": 1,
	} {
		if fmt.Sprint(got[name]) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if asked != m.path("dev/nvme0") {
		t.Errorf("asked was %s", asked)
	}
	m.SMART = func(string, []byte) error { return &os.PathError{Op: "open", Path: "/dev/nvme0", Err: syscall.EACCES} }
	if got := device(); got["life_used_percent"] != nil || fmt.Sprint(got["reads"]) != "1" {
		t.Errorf("a controller that we may not ask: %v", got)
	}
}

func TestSMARTCommandIsAsLongAsTheKernels(t *testing.T) {
	c := nvmeCommand{}
	for what, got := range map[string][2]uintptr{ // linux/nvme_ioctl.h
		"command": {unsafe.Sizeof(c), 72}, "address": {unsafe.Offsetof(c.address), 24}, "length": {unsafe.Offsetof(c.length), 36},
		"dword10": {unsafe.Offsetof(c.dword10), 40}, "milliseconds": {unsafe.Offsetof(c.milliseconds), 64},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d, want %d", what, got[0], got[1])
		}
	}
}
