package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// errRunning says that another process has the state directory.
var errRunning = errors.New("another devid-agent is using this state directory")

const lockFile = "lock"

// lockState takes the state directory for this process; the kernel lets go of it when the process ends, however it
// ends. Two agents with one identity would throw each other off the hub for ever.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, durable.Label("make state directory", dir, err)
	}
	if err := ownState(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, durable.Label("open", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fault.AskOperator(fmt.Errorf("%w: %s (process %s)", errRunning, dir, holder(f)), "stop that one first, or give this one another device.state")
		}
		return nil, durable.Label("lock", path, err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0) // for people; the lock is the kernel's
	}
	return f, nil
}

// ownState refuses to leave root's files in the state directory of somebody else, who could not read them.
func ownState(dir string) error {
	var s syscall.Stat_t
	if err := syscall.Stat(dir, &s); err != nil || os.Geteuid() != 0 || s.Uid == 0 {
		return nil // it is made, or what stands in the way is said better by who makes it
	}
	owner, remedy := strconv.Itoa(int(s.Uid)), fmt.Sprintf("setpriv --reuid=%d --regid=%d --init-groups devid-agent …", s.Uid, s.Gid)
	if u, err := user.LookupId(owner); err == nil {
		owner, remedy = u.Username, "runuser -u "+u.Username+" -- devid-agent …"
	}
	return fault.AskOperator(fmt.Errorf("%s belongs to %s, who could not read what we write there", dir, owner), "run this as that user: "+remedy)
}

// holder is the process that says it has the lock.
func holder(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" {
		return pid
	}
	return "unknown"
}

// running returns the process that has the state directory at dir, or 0.
func running(dir string) int {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return 0
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return 0
	}
	pid, err := strconv.Atoi(holder(f))
	if err != nil {
		return 0
	}
	return pid
}
