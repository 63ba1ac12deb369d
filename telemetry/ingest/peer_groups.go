//go:build !386 && !s390x

package ingest

import (
	"syscall"
	"unsafe"
)

// peerGroups is the supplementary groups of the process that connected fd; nil on a kernel before 4.13.
func peerGroups(fd uintptr) []uint32 {
	const soPeerGroups = 59 // asm-generic/socket.h
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soPeerGroups,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4]
		case errno == syscall.ERANGE && int(size/4) > len(groups): // the kernel says how many there are
			groups = make([]uint32, size/4)
		default:
			return nil
		}
	}
}
