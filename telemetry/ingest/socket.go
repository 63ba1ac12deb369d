package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// door is a Unix socket as the configuration has it.
type door struct {
	path string
	mode fs.FileMode // 0 is usualMode
	key  string      // of the configuration, which names path
}

// listen makes the socket appear under its path with its mode, ready to accept.
func (d door) listen(ctx context.Context) (net.Listener, error) {
	mode := d.mode
	if mode == 0 {
		mode = usualMode
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o755); err != nil {
		return nil, d.label("make the directory of the socket", err)
	}
	if err := d.vacate(ctx); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{Control: born(mode)}).Listen(ctx, "unix", d.path)
	if err != nil {
		return nil, d.label("listen on "+d.path, err)
	}
	if err := os.Chmod(d.path, mode); err != nil {
		return nil, errors.Join(d.label("set the mode of "+d.path, err), l.Close())
	}
	return l, nil
}

// born gives the socket its mode before it has a path: at no moment is it open to more than mode says. The umask
// may take bits away, which the chmod after bind gives back (Linux, net/unix/af_unix.c, unix_bind_bsd).
func born(mode fs.FileMode) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) { refused = syscall.Fchmod(int(fd), uint32(mode.Perm())) })
		return errors.Join(err, refused)
	}
}

// vacate makes sure that the path is free for a socket: a stale one, which nobody serves, may be replaced.
func (d door) vacate(ctx context.Context) error {
	info, err := os.Lstat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return d.label("look for a socket at "+d.path, err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fault.AskOperator(fmt.Errorf("listen on %s: something else is there", d.path),
			"remove it, or name another path as "+d.key)
	}
	ctx, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	c, err := new(net.Dialer).DialContext(ctx, "unix", d.path)
	if err == nil {
		_ = c.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return d.label("remove the stale socket "+d.path, os.Remove(d.path))
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return fault.AskOperator(fmt.Errorf("listen on %s: another program serves it", d.path),
			"stop the other devid-agent, or name another path as "+d.key)
	}
	return nil
}

// label says what a person can do about err, where that is known.
func (d door) label(verb string, err error) error {
	if err == nil {
		return nil
	}
	wrapped := fmt.Errorf("%s: %w", verb, err)
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.AskOperator(wrapped, "let systemd make the directory (RuntimeDirectory=devid-agent), or name another path as "+d.key)
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENAMETOOLONG):
		return fault.AskOperator(wrapped, "a socket's path has at most 107 characters: name a shorter one as "+d.key)
	}
	return wrapped
}
