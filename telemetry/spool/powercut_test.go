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
		if events++; events%41 != 0 {
			return nil
		}
		cuts++
		return lookAt(t, device, fmt.Sprintf("%s %s", verb, filepath.Base(path)), promised, acked)
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
	if err := lookAt(t, device, "the end", promised, acked); err != nil {
		t.Error(err)
	}
	if cuts < 20 {
		t.Errorf("%d cuts only", cuts)
	}
}

func TestWhatOpenFindsAfterAKillSurvivesAPowerCut(t *testing.T) {
	device := filepath.Join(memory(t), "device")
	dir, ok := mountDevice(t, device, true)
	if !ok {
		return
	}
	killed := false
	s := open(t, filepath.Join(dir, "spool"), Limits{}, func(verb, _ string) error {
		if killed && verb == "written" {
			return errCut
		}
		return nil
	})
	add(t, s, 1, 3)
	killed = true
	if _, err := s.Append(t.Context(), "s", body(4)); err != errCut {
		t.Fatal(err)
	}
	want(t, open(t, s.dir, Limits{}, nil), 1, 4)
	if err := lookAt(t, device, "after Open", 4, 0); err != nil {
		t.Error(err)
	}
}

// lookAt opens the spool as it would be after a power cut now, and says what is missing.
func lookAt(t *testing.T, device, when string, promised, acked uint64) error {
	t.Helper()
	b, err := os.ReadFile(device)
	if err != nil {
		return err
	}
	after := filepath.Join(memory(t), "after")
	if err := os.WriteFile(after, b, 0o600); err != nil {
		return err
	}
	dir, ok := mountDevice(t, after, false)
	if !ok {
		return fmt.Errorf("cut at %s: the device cannot be mounted", when)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	s, err := Open(filepath.Join(dir, "spool"), Limits{}, nil)
	if err != nil {
		return err
	}
	defer s.head.close()
	waiting := map[uint64]string{}
	for _, r := range s.Peek(1 << 20) {
		waiting[r.Seq] = string(r.Body)
	}
	for seq := acked + 1; seq <= promised; seq++ {
		if waiting[seq] != string(body(int(seq))) {
			return fmt.Errorf("cut at %s: reading %d of %d is %q: %+v", when, seq, promised, waiting[seq], s.Stats())
		}
	}
	return nil
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
