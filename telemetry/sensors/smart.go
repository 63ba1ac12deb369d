package sensors

import (
	"encoding/binary"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// smartLog is the length of an NVMe controller's SMART / Health Information (NVM Express Base Specification, log page 02h).
const smartLog = 512

// smart adds what an NVMe medium says of its own life. The kernel lets only who has CAP_SYS_ADMIN ask; for others there is
// nothing.
func (m Machine) smart(values map[string]any, name string) {
	at := strings.LastIndexByte(name, 'n')
	if !strings.HasPrefix(name, "nvme") || at < len("nvme") {
		return
	}
	log := make([]byte, smartLog)
	if err := m.SMART(m.path("dev", name[:at]), log); err != nil {
		return
	}
	count := func(at int) uint64 { return binary.LittleEndian.Uint64(log[at:]) } // of 128 bits those that are ever used
	values["life_used_percent"] = uint64(log[5])
	values["spare_percent"] = uint64(log[3])
	values["spare_blocks"] = reserves[1]
	if log[0]&1 != 0 { // less is spare than the maker's threshold
		values["spare_blocks"] = reserves[3]
	}
	values["up_hours"], values["unsafe_shutdowns"], values["media_errors"] = count(128), count(144), count(160)
}

// nvmeCommand is struct nvme_passthru_cmd of linux/nvme_ioctl.h.
type nvmeCommand struct {
	opcode, flags     uint8
	_                 uint16
	namespace         uint32
	_                 [2]uint32
	_                 uint64
	address           uint64
	_                 uint32
	length            uint32
	dword10           uint32
	_                 [5]uint32
	milliseconds, out uint32
}

const (
	nvmeAdmin    = 0xc0484e41 // NVME_IOCTL_ADMIN_CMD
	getLogPage   = 0x02
	healthLog    = 0x02
	allOfThem    = 0xffffffff // namespaces
	nvmePatience = 2000
)

// readSMART asks the controller for its log.
func readSMART(controller string, log []byte) error {
	f, err := os.Open(controller)
	if err != nil {
		return err
	}
	defer f.Close()
	var pinned runtime.Pinner // the kernel writes there, and the struct names it by number only
	defer pinned.Unpin()
	pinned.Pin(&log[0])
	c := nvmeCommand{
		opcode: getLogPage, namespace: allOfThem, address: uint64(uintptr(unsafe.Pointer(&log[0]))), length: uint32(len(log)),
		dword10: uint32(len(log)/4-1)<<16 | healthLog, milliseconds: nvmePatience,
	}
	status, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), nvmeAdmin, uintptr(unsafe.Pointer(&c)))
	if errno != 0 {
		return &os.PathError{Op: "ioctl", Path: controller, Err: errno}
	}
	if status != 0 {
		return &os.PathError{Op: "ioctl", Path: controller, Err: syscall.EIO}
	}
	return nil
}
