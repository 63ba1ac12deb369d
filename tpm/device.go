package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// device is a TPM behind the kernel's resource manager. Closing the file flushes whatever was loaded through it.
type device struct {
	path    string
	timeout time.Duration
}

func (d *device) managed() bool { return true }
func (d *device) open() line    { return &deviceLine{device: d} }

type deviceLine struct {
	*device
	file *os.File // nil until the first exchange
}

func (l *deviceLine) close() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

func (l *deviceLine) exchange(ctx context.Context, command []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.file == nil {
		file, err := os.OpenFile(l.path, os.O_RDWR, 0)
		if err != nil {
			return nil, l.label(err)
		}
		l.file = file
	}
	answer, err := l.converse(ctx, command)
	if err != nil && !fault.Stopped(err) {
		// The answer may still come: only a new file is sure not to read it as that to the next command.
		l.close()
		return nil, l.label(err)
	}
	return answer, err
}

func (l *deviceLine) converse(ctx context.Context, command []byte) ([]byte, error) {
	stop, err := watch(ctx, command, l.timeout, l.file.SetDeadline)
	if errors.Is(err, os.ErrNoDeadline) {
		return l.blocking(command)
	}
	if err != nil {
		return nil, err
	}
	defer stop()
	raw, err := l.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return readAnswer(&asker{raw: raw, command: command})
}

// blocking is for kernels before 4.20, whose driver cannot be polled; there the driver's own timeouts hold.
func (l *deviceLine) blocking(command []byte) ([]byte, error) {
	if _, err := l.file.Write(command); err != nil {
		return nil, err
	}
	return readAnswer(l.file)
}

// asker writes the command inside of the first read. The kernel answers a read that comes before the TPM is done
// with 0 bytes instead of EAGAIN (tpm_common_read), so we must wait for the poller first; and the poller
// forgets what it saw before a read began, so a command written earlier might be answered unseen.
type asker struct {
	raw     syscall.RawConn
	command []byte
}

func (a *asker) Read(p []byte) (n int, err error) {
	waitErr := a.raw.Read(func(fd uintptr) bool {
		if a.command != nil {
			err = writeAll(int(fd), a.command)
			a.command = nil
			return err != nil
		}
		n, err = syscall.Read(int(fd), p)
		if err == syscall.EAGAIN || err == syscall.EINTR || err == nil && n == 0 {
			n, err = 0, nil
			return false
		}
		return true
	})
	return max(n, 0), errors.Join(err, waitErr)
}

// writeAll writes at once: the driver takes a command whole or not at all.
func writeAll(fd int, b []byte) error {
	n, err := syscall.Write(fd, b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("driver took %d of %d bytes", n, len(b))
	}
	return err
}

func (l *deviceLine) label(err error) error {
	wrapped := fmt.Errorf("tpm device %s: %w", l.path, plain(err))
	if errors.Is(err, fs.ErrPermission) {
		return fault.AskOperator(fmt.Errorf("%w (%s)", wrapped, access(l.path)),
			"usermod -aG "+group(l.path)+" devid-agent, then restart the agent")
	}
	// The device may be missing because its driver is loaded late.
	return fault.As(fault.Transient, wrapped)
}

// plain is err without the path that it repeats.
func plain(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// access is mode, owner and group of the device, as ls shows them.
func access(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "its mode cannot be read"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Mode().String()
	}
	owner := strconv.Itoa(int(stat.Uid))
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	return fmt.Sprintf("mode %v, owner %s:%s", info.Mode(), owner, groupOf(stat))
}

// group is the group that may use the device; tss is what the tpm-udev rules give it to.
func group(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "tss"
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Perm()&0o060 != 0o060 || stat.Gid == 0 {
		return "tss"
	}
	return groupOf(stat)
}

func groupOf(stat *syscall.Stat_t) string {
	id := strconv.Itoa(int(stat.Gid))
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
