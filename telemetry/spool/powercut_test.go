package spool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestAPowerCutOnARealFileSystemKeepsEveryPromise runs the spool on ext4 on a block device, and looks again and
// again at a copy of the device alone: that is what a power cut would leave, since nothing of what the kernel
// still holds back is on it. The journal is told to wait, so that only what the spool asks for is written.
func TestAPowerCutOnARealFileSystemKeepsEveryPromise(t *testing.T) {
	device := filepath.Join(memory(t), "device")
	dir, ok := mountDevice(t, device, true)
	if !ok {
		t.Log("this user may not mount: the worlds of the other tests are all there is")
		return
	}
	var promised, acked uint64
	events, cuts := 0, 0
	look := func(verb, path string) error {
		if events++; events%41 == 0 {
			cuts++
			lookAt(t, device, fmt.Sprintf("%s %s", verb, filepath.Base(path)), promised, acked)
		}
		return nil
	}
	s := open(t, filepath.Join(dir, "spool"), Limits{SegmentBytes: 2 * page}, look)
	for i := 1; i <= 400; i++ {
		add(t, s, i, i)
		promised = uint64(i)
		if i%7 == 0 {
			acked = uint64(i - i%20/2) // what waits may be repeated, so the mark moves first
			if err := s.Ack(acked); err != nil {
				t.Fatal(err)
			}
		}
	}
	lookAt(t, device, "the end", promised, acked)
	if cuts < 20 {
		t.Errorf("%d cuts only", cuts)
	}
}

// lookAt opens the spool as it would be after a power cut now.
func lookAt(t *testing.T, device, when string, promised, acked uint64) {
	t.Helper()
	b, err := os.ReadFile(device)
	if err != nil {
		t.Fatal(err)
	}
	after := filepath.Join(memory(t), "after")
	if err := os.WriteFile(after, b, 0o600); err != nil {
		t.Fatal(err)
	}
	dir, _ := mountDevice(t, after, false)
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	found, st := salvaged(t, filepath.Join(dir, "spool"), when)
	for seq := acked + 1; seq <= promised; seq++ {
		if !found[seq] {
			t.Fatalf("cut at %s: reading %d of %d is lost: %+v", when, seq, promised, st)
		}
	}
	if st.Damaged != 0 {
		t.Fatalf("cut at %s: %+v", when, st)
	}
}

func mountDevice(t *testing.T, device string, fresh bool) (dir string, ok bool) {
	t.Helper()
	if os.Geteuid() != 0 {
		return "", false
	}
	if fresh {
		if _, err := exec.LookPath("mkfs.ext4"); err != nil {
			t.Skip("install e2fsprogs")
		}
		run(t, "truncate", "-s", "8M", device)
		run(t, "mkfs.ext4", "-q", device)
	}
	dir = t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop,commit=600", device, dir).CombinedOutput(); err != nil {
		t.Logf("mount: %v %s", err, out)
		return "", false
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, true
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", name, err, out)
	}
}
