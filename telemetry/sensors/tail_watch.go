package sensors

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// eyes tell of changes to a file and of another one under its name, by inotify(7): waiting costs no wake-up.
type eyes struct {
	fd     int
	events *os.File // nil: blind
	file   int      // the watch on the file; 0 before there was one, -1 where it could not be had
}

// far are the file systems whose changes are made elsewhere (statfs(2)): NFS, SMB, SMB2, 9P, FUSE, Ceph.
var far = map[uint32]bool{0x6969: true, 0xff534d42: true, 0xfe534d42: true, 0x01021997: true, 0x65735546: true, 0x00c36400: true}

// open watches the directory of path for a new file. Where that is not possible, the eyes are blind and whoever waits
// with them must look from time to time.
func open(path string) *eyes {
	e := &eyes{fd: -1}
	dir := filepath.Dir(path)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil && far[uint32(fs.Type)] {
		return e
	}
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		return e // all that this user may have are taken: fs.inotify.max_user_instances
	}
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_CREATE|syscall.IN_MOVED_TO); err != nil {
		_ = syscall.Close(fd)
		return e
	}
	e.fd, e.events = fd, os.NewFile(uintptr(fd), "inotify")
	return e
}

func (e *eyes) blind() bool { return e.events == nil || e.file < 0 }

// watch follows this file from now on, whatever its name is by now.
func (e *eyes) watch(file *os.File) {
	if e.events == nil {
		return
	}
	if e.file > 0 {
		_, _ = syscall.InotifyRmWatch(e.fd, uint32(e.file)) // gone with the file, perhaps
	}
	self := "/proc/self/fd/" + strconv.Itoa(int(file.Fd()))
	wd, err := syscall.InotifyAddWatch(e.fd, self, syscall.IN_MODIFY|syscall.IN_ATTRIB|syscall.IN_MOVE_SELF)
	if err != nil {
		wd = -1
	}
	e.file = wd
}

// wait returns after a change, after d or when ctx ends, and reports whether it was a change.
func (e *eyes) wait(ctx context.Context, d time.Duration) bool {
	if e.events == nil {
		pause(ctx, d)
		return false
	}
	return await(ctx, e.events, d, make([]byte, 4096)) > 0
}

// await reads from a file that the runtime polls: what there is within d, before ctx ends.
func await(ctx context.Context, file *os.File, d time.Duration, b []byte) int {
	n, _ := awaitRead(ctx, file, d, b)
	return n
}

func awaitRead(ctx context.Context, file *os.File, d time.Duration, b []byte) (int, error) {
	_ = file.SetReadDeadline(time.Now().Add(d)) // the file is one that takes deadlines
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	return file.Read(b)
}

func (e *eyes) close() {
	if e.events != nil {
		_ = e.events.Close()
	}
}
