package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// The kernel's TPM proxy, linux/vtpm_proxy.h: whoever opens it becomes the chip behind a new /dev/tpm0 and /dev/tpmrm0.
const (
	newDevice    = 0xc014a100 // VTPM_PROXY_IOC_NEW_DEV
	isTPM2       = 1
	setLocality  = 0x20001000 // TPM2_CC_SET_LOCALITY of the proxy: the kernel asks the proxy itself, not the chip
	maxCommand   = 4096
	headerLength = 10
)

type proxyDevice struct{ Flags, Number, FD, Major, Minor uint32 }

// wireTPM makes the TPM at the other end of the wire the board's own. Its state is not on the board, as a chip's is not:
// a cut of the power leaves it alone.
func wireTPM() error {
	wire, err := openWire("tpm")
	if err != nil {
		return err
	}
	go tellReady()
	for {
		chip, err := newChip()
		if err == nil {
			err = serve(chip, wire)
			_ = syscall.Close(chip)
		}
		if !errors.Is(err, errGivenUp) {
			return err
		}
		fmt.Fprintln(os.Stderr, "board:", err)
		nap()
	}
}

// errGivenUp is what serve returns when the kernel has let go of the chip. It does so when one of its first commands takes
// longer than that command may (0.75 s for TPM2_GetCapability), which emulation on a loaded machine does now and then.
var errGivenUp = errors.New("the kernel has given up the TPM, it gets a new one")

// serve answers the kernel from the wire. When it returns errGivenUp, no answer is left on the wire.
func serve(chip int, wire io.ReadWriter) error {
	command := make([]byte, maxCommand)
	for {
		n, err := syscall.Read(chip, command)
		if err != nil {
			return fmt.Errorf("%w: command: %w", errGivenUp, err)
		}
		answer, err := ask(wire, command[:n])
		if err != nil {
			return err
		}
		// The kernel refuses an answer that comes too late; whether it goes on, the next command tells.
		if _, err := syscall.Write(chip, answer); err != nil {
			fmt.Fprintln(os.Stderr, "board: an answer came too late:", err)
		}
	}
}

func newChip() (fd int, err error) {
	proxy, err := syscall.Open("/dev/vtpmx", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/vtpmx: %w", err)
	}
	defer syscall.Close(proxy)
	d := proxyDevice{Flags: isTPM2}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(proxy), newDevice, uintptr(unsafe.Pointer(&d))); errno != 0 {
		return 0, fmt.Errorf("new TPM: %w", errno)
	}
	if d.Number != 0 {
		_ = syscall.Close(int(d.FD))
		return 0, fmt.Errorf("%w: somebody has the old one open still", errGivenUp)
	}
	return int(d.FD), nil
}

// ask sends one command and returns its answer, whose length is in its header (TPM 2.0 Part 1, 18.3).
func ask(wire io.ReadWriter, command []byte) ([]byte, error) {
	if len(command) >= headerLength && binary.BigEndian.Uint32(command[6:]) == setLocality {
		return []byte{0x80, 0x01, 0, 0, 0, headerLength, 0, 0, 0, 0}, nil
	}
	if _, err := wire.Write(command); err != nil {
		return nil, fmt.Errorf("command on the wire: %w", err)
	}
	answer := make([]byte, maxCommand)
	if _, err := io.ReadFull(wire, answer[:headerLength]); err != nil {
		return nil, fmt.Errorf("answer on the wire: %w", err)
	}
	size := binary.BigEndian.Uint32(answer[2:])
	if size < headerLength || size > maxCommand {
		return nil, fmt.Errorf("answer of %d bytes", size)
	}
	_, err := io.ReadFull(wire, answer[headerLength:size])
	return answer[:size], err
}

// tellReady lets systemd go on once the kernel has greeted the chip.
func tellReady() {
	for {
		if _, err := os.Stat("/sys/class/tpmrm/tpmrm0"); err == nil {
			break
		}
		nap()
	}
	if conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET")); err == nil {
		_, _ = conn.Write([]byte("READY=1"))
		_ = conn.Close()
	}
}
