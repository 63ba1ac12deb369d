package spool

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

func TestAFailingMediumIsForAPerson(t *testing.T) {
	err := label("append to", "/x", os.NewSyscallError("fdatasync", syscall.EIO))
	if fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "replace it") || !errors.Is(err, syscall.EIO) {
		t.Errorf("%v, hint %q", err, fault.Hint(err))
	}
}

func TestFault30AReadOnlyDiskIsReadAndTold(t *testing.T) {
	dir, ok := disk(t, "size=1m")
	if !ok {
		testReadOnlyDirectory(t)
		return
	}
	s := open(t, dir, Limits{SegmentBytes: page}, nil)
	add(t, s, 1, 300)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	remount(t, dir, syscall.MS_RDONLY)
	s = open(t, dir, Limits{SegmentBytes: page}, nil)
	want(t, s, 1, 300)
	for range 3 {
		_, err := s.Append(t.Context(), "s", body(301))
		if !errors.Is(err, syscall.EROFS) || fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "read-write") {
			t.Fatalf("append: %v, hint %q", err, fault.Hint(err))
		}
	}
	if err := s.Ack(100); !errors.Is(err, syscall.EROFS) || fault.Hint(err) == "" {
		t.Fatalf("acknowledge: %v", err)
	}
	want(t, s, 101, 300) // it holds until the end of the process
	want(t, open(t, dir, Limits{}, nil), 1, 300)

	remount(t, dir, 0)
	add(t, s, 301, 320)
	if err := s.Ack(150); err != nil {
		t.Fatal(err)
	}
	waitAfterReopen(t, s, 151, 320)
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("spooltest", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=1m"); err != nil {
		t.Fatal(err)
	}
}

// testReadOnlyDirectory is what a user who cannot mount can see of a disk that cannot be written.
func testReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Limits{}, nil), 1, 30)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	s := open(t, dir, Limits{}, nil)
	want(t, s, 1, 30)
	if _, err := s.Append(t.Context(), "s", body(31)); fault.Of(err) != fault.Operator {
		t.Fatalf("append: %v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	add(t, s, 31, 40)
	waitAfterReopen(t, s, 1, 40)
}

func TestFault33WithoutFileDescriptorsNothingCountsAsDamaged(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Limits{SegmentBytes: page}, nil), 1, 300)
	s := open(t, dir, Limits{}, nil)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	got := s.Peek(10)
	_, err := Open(dir, Limits{}, nil)
	if e := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); e != nil {
		t.Fatal(e)
	}
	if len(got) != 0 || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("%d readings, Open = %v", len(got), err)
	}
	want(t, s, 1, 300)
}
