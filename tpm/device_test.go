package tpm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// terminal is a pair of pseudo-terminals: the one character device that a test can have the other end of.
func terminal(t *testing.T) (master *os.File, path string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	path = fmt.Sprintf("/dev/pts/%d", n)
	// Kept open, or else the master hangs up whenever the store closes its file; and raw, or else bytes are edited.
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD}
	raw.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, &raw); err != nil {
		t.Fatal(err)
	}
	return master, path
}

// answer lets p answer what comes over the terminal, except while deaf.
func answer(p *tpmtest.TPM, master *os.File, deaf *atomic.Bool) {
	for {
		head := make([]byte, 10)
		if _, err := io.ReadFull(master, head); err != nil {
			return
		}
		command := append(head, make([]byte, binary.BigEndian.Uint32(head[2:])-10)...)
		if _, err := io.ReadFull(master, command[10:]); err != nil {
			return
		}
		if deaf.Load() {
			continue
		}
		if answer, err := p.Send(command); err == nil {
			_, _ = master.Write(answer)
		}
	}
}

func TestDeviceIsWaitedForWithADeadline(t *testing.T) {
	p := tpmtest.Start(t)
	master, path := terminal(t)
	var deaf atomic.Bool
	go answer(p, master, &deaf)
	s := open(t, tpm.Config{TCTI: "device:" + path, Dir: t.TempDir(), Timeout: 200 * time.Millisecond})
	deaf.Store(true)
	start := time.Now()
	_, err := s.Create(t.Context(), "device-g1")
	if !errors.Is(err, os.ErrDeadlineExceeded) || fault.Of(err) != fault.Transient {
		t.Errorf("create with a deaf TPM: %v (%v)", err, fault.Of(err))
	}
	if took := time.Since(start); took < 200*time.Millisecond || took > 20*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestDeviceCarriesKeys(t *testing.T) {
	p := tpmtest.Start(t)
	master, path := terminal(t)
	var deaf atomic.Bool
	go answer(p, master, &deaf)
	s := open(t, tpm.Config{TCTI: "device:" + path, Dir: t.TempDir()})
	key := create(t, s, "device-g1")
	verify(t, key)
	p.Restart()
	verify(t, key)
	wantEmpty(t, p, "the device")
}
