package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// fdatasync returns once the file's bytes, and its length, are on the medium.
func fdatasync(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// reserve asks the file system for n bytes at once, behind the end of the file: then a commit that makes the file longer
// changes its inode only, and the journal takes less. A file system that cannot goes without.
func reserve(f *os.File, n int64) {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE
	_ = syscall.Fallocate(int(f.Fd()), keepSize, 0, n)
}

// syncDir returns once the entries of the directory at path are on the medium.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return label("open", path, err)
	}
	defer f.Close()
	return label("sync", path, f.Sync())
}

// makeDir makes the spool's directory where there is none.
func makeDir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return label("make", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// label says what a person can do about err. A failed sync is not the end here, as it is elsewhere: what it
// concerned was not promised, and is written again to a new file.
func label(verb, path string, err error) error {
	if errors.Is(err, syscall.EIO) {
		return fault.AskOperator(fmt.Errorf("%s %s: %w", verb, path, err),
			"the storage under "+path+" reports errors (see dmesg): replace it")
	}
	return durable.Label(verb, path, err)
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// unreadable reports whether err says that the medium, or the file on it, is damaged or gone: what was there is
// lost. Any other error (no file descriptors, no permission) says nothing about what is on the medium.
func unreadable(err error) bool {
	for _, e := range []error{syscall.EIO, syscall.EUCLEAN, syscall.EBADMSG, syscall.ENODATA, os.ErrNotExist} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
