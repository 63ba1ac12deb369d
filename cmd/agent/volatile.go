package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
)

// Magic numbers of file systems (statfs(2)).
const (
	tmpfs   = 0x01021994
	ramfs   = 0x858458f6
	overlay = 0x794c7630
)

// mayEnroll refuses to make an identity that the next boot forgets. The device would enroll at each boot anew; and what
// its hardware holds for the identity that lies on a partition which was not mounted would be swept as nobody's. An
// identity that is there already goes on: it is worse to stop a device that works.
func mayEnroll(c *Config) error {
	current, pending, err := identity.Look(identityDir(c))
	if err != nil || current != nil || pending != nil {
		return nil // identity.Open says it better
	}
	if forTrial(c.Device.State) {
		return nil
	}
	return lasting(c.Device.State)
}

// forTrial: what lies in these directories is not expected to be kept (hier(7)), so whoever names one tries things out.
func forTrial(dir string) bool {
	return strings.HasPrefix(dir, "/tmp/") || strings.HasPrefix(dir, "/dev/shm/")
}

// lasting is an error with its remedy where the next boot forgets what is in dir, and nil where nobody can tell.
func lasting(dir string) error {
	kind := volatile(dir)
	if kind == "" {
		return nil
	}
	return fault.AskOperator(fmt.Errorf("%s lies on %s: the next boot forgets the identity", dir, kind),
		"mount a file system that survives a reboot at "+dir+", or name a directory on one as device.state (docs/yocto.md: read-only root)")
}

// volatile names the file system in memory that dir lies on; it is "" where dir is kept, or nobody can tell. An overlay
// lasts as long as its upper layer does: volatile-binds of OpenEmbedded puts one of tmpfs over /var/lib.
func volatile(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	switch magic(dir) {
	case tmpfs:
		return "a tmpfs"
	case ramfs:
		return "a ramfs"
	case overlay:
		if upper := upperLayer(dir); magic(upper) == tmpfs || magic(upper) == ramfs {
			return "an overlay of memory"
		}
	}
	return ""
}

func magic(path string) uint32 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0
	}
	return uint32(s.Type)
}

// upperLayer is where the overlay that dir lies on keeps what is written to dir, or "". The kernel tells a path from when
// it was mounted, where something else may lie now: it counts only if dir is there, too.
func upperLayer(dir string) string {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	upper := upperIn(string(mounts), dir)
	if _, err := os.Stat(upper); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return upper
}

// upperIn reads mountinfo, proc_pid_mountinfo(5): ID, parent, device, root, mount point, options, tags, "-", type, source,
// options of the file system. The mount that counts is the deepest above dir, and of several there the last.
func upperIn(mounts, dir string) string {
	var upper string
	var depth int
	for line := range strings.Lines(mounts) {
		before, after, _ := strings.Cut(line, " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(super) < 3 {
			continue
		}
		root, at := unescape(mount[3]), unescape(mount[4])
		rest, err := filepath.Rel(at, dir)
		if err != nil || rest == ".." || strings.HasPrefix(rest, "../") || len(at) < depth {
			continue
		}
		depth, upper = len(at), ""
		for _, option := range strings.Split(super[2], ",") {
			if layer, ok := strings.CutPrefix(option, "upperdir="); ok {
				upper = filepath.Join(unescape(layer), root, rest)
			}
		}
	}
	return upper
}

// unescape undoes what the kernel does to blanks, commas and backslashes in paths: three octal digits.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
