package tpm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// terminal is a pair of pseudo-terminals: the one character device that a test can have the other end of.
func terminal(t testing.TB) (master *os.File, path string) {
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
func answer(p *tpmtest.TPM, master *os.File, deaf *atomic.Bool, commands *atomic.Int64) {
	for {
		head := make([]byte, 10)
		if _, err := io.ReadFull(master, head); err != nil {
			return
		}
		command := append(head, make([]byte, binary.BigEndian.Uint32(head[2:])-10)...)
		if _, err := io.ReadFull(master, command[10:]); err != nil {
			return
		}
		commands.Add(1)
		if deaf.Load() {
			continue
		}
		if answer, err := p.Relayed().Send(command); err == nil {
			_, _ = master.Write(answer)
		}
	}
}

func TestDeviceIsWaitedForWithADeadline(t *testing.T) {
	p := tpmtest.Start(t)
	master, path := terminal(t)
	var deaf atomic.Bool
	go answer(p, master, &deaf, new(atomic.Int64))
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
	go answer(p, master, &deaf, new(atomic.Int64))
	s := open(t, tpm.Config{TCTI: "device:" + path, Dir: t.TempDir()})
	key := create(t, s, "device-g1")
	verify(t, key)
	p.Restart()
	verify(t, key)
	other := create(t, s, "device-g2")
	verify(t, key)
	verify(t, other)
	if n := p.Handles(); n != 1 {
		t.Errorf("%d objects stay in the TPM, want the key that signed last", n)
	}
}

func TestDeviceKeepsTheKeyThatSignedLast(t *testing.T) {
	p := tpmtest.Start(t)
	master, path := terminal(t)
	var deaf atomic.Bool
	var commands atomic.Int64
	go answer(p, master, &deaf, &commands)
	key := create(t, open(t, tpm.Config{TCTI: "device:" + path, Dir: t.TempDir()}), "device-g1")
	before := commands.Load()
	const signatures = 5
	for range signatures {
		verify1(t, key)
	}
	if n := commands.Load() - before; n != signatures {
		t.Errorf("%d commands for %d signatures", n, signatures)
	}
}

func TestDeviceThatAppearsLateIsUsedFromThenOn(t *testing.T) {
	p := tpmtest.Start(t)
	master, terminal := terminal(t)
	go answer(p, master, new(atomic.Bool), new(atomic.Int64))
	path := filepath.Join(t.TempDir(), "tpmrm0")
	s := open(t, tpm.Config{TCTI: "device:" + path, Dir: t.TempDir()})
	_, err := s.Create(t.Context(), "device-g1")
	if fault.Of(err) != fault.Transient || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("before the driver is there: %v (%v)", err, fault.Of(err))
	}
	if err := os.Symlink(terminal, path); err != nil {
		t.Fatal(err)
	}
	verify(t, create(t, s, "device-g1"))
}
