package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

// disk is a small file system of its own; false when this user may not mount one.
func disk(t *testing.T, options string) (dir string, ok bool) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("spooltest", dir, "tmpfs", 0, options); err != nil {
		if os.Geteuid() == 0 && !errors.Is(err, syscall.EPERM) {
			t.Fatal(err)
		}
		return "", false
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, true
}

// fillDisk takes all the room there is, and returns how to give it back.
func fillDisk(t *testing.T, dir string) (release func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{page, 1} {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// untilRefused appends from … on until the disk has no room, and returns the number that was refused.
func untilRefused(t *testing.T, s *Spool, from int) (refused int, err error) {
	t.Helper()
	for i := from; i < from+100_000; i++ {
		seq, err := s.Append(t.Context(), "s", body(i))
		if err != nil {
			return i, err
		}
		if seq != uint64(i) {
			t.Fatalf("reading %d got number %d", i, seq)
		}
	}
	t.Fatal("the disk is never full")
	return 0, nil
}

func TestFault29AFullDiskIsToldAndLosesNothing(t *testing.T) {
	dir, ok := disk(t, "size=1m")
	if !ok {
		testLimitedFile(t)
		return
	}
	s := open(t, filepath.Join(dir, "spool"), Limits{SegmentBytes: 64 << 10, Reserve: -1}, nil)
	refused, err := untilRefused(t, s, 1)
	checkFull(t, err)
	for range 20 {
		if _, err := s.Append(t.Context(), "s", bytes.Repeat([]byte("x"), 50_000)); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("append to a full disk: %v", err)
		}
	}
	waitAfterReopen(t, s, 1, refused-1)

	// With an acknowledgement comes room.
	half := refused / 2
	if err := s.Ack(uint64(half)); err != nil {
		t.Fatalf("acknowledge on a full disk: %v", err)
	}
	add(t, s, refused, refused+100)
	waitAfterReopen(t, s, half+1, refused+100)

	// And with room that somebody else gives back.
	release := fillDisk(t, dir)
	full, err := untilRefused(t, s, refused+101)
	checkFull(t, err)
	release()
	add(t, s, full, full+10)
	waitAfterReopen(t, s, half+1, full+10)
}

// room is how many pages are free.
func room(t *testing.T, dir string) uint64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Bfree
}

func checkFull(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ENOSPC) || fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "free some space") {
		t.Fatalf("append to a full disk: %v, hint %q", err, fault.Hint(err))
	}
}

// waitAfterReopen checks what waits, as s sees it and as another process would after a kill.
func waitAfterReopen(t *testing.T, s *Spool, from, to int) {
	t.Helper()
	again := open(t, s.dir, s.limits, nil)
	for _, s := range []*Spool{s, again} {
		want(t, s, from, to)
		if st := s.Stats(); st.Damaged != 0 || st.Dropped != 0 {
			t.Fatalf("%+v", st)
		}
	}
}

// testLimitedFile is what a user who cannot mount can see of a disk that refuses to give more.
func testLimitedFile(t *testing.T) {
	s := open(t, t.TempDir(), Limits{}, nil)
	add(t, s, 1, 100)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 64 << 10, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 128<<10)
	_, err := s.Append(t.Context(), "s", big)
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("append beyond the limit: %v", err)
	}
	waitAfterReopen(t, s, 1, 100)
	add(t, s, 101, 200)
	waitAfterReopen(t, s, 1, 200)
}

func TestWhatDidNotFitTakesNoRoom(t *testing.T) {
	dir, ok := disk(t, "size=1m")
	if !ok {
		testLimitedFile(t)
		return
	}
	s := open(t, dir, Limits{Reserve: -1}, nil)
	add(t, s, 1, 10)
	fillDisk(t, dir)
	if err := os.Truncate(filepath.Join(dir, "ballast"), 600<<10); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Append(t.Context(), "s", make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
	}
	before := room(t, dir)
	for range 3 {
		_, err := s.Append(t.Context(), "s", make([]byte, MaxBody))
		checkFull(t, err)
	}
	if now := room(t, dir); now+2 < before {
		t.Errorf("what did not fit took %d pages", before-now)
	}
}

func TestALostCursorOnAFullDiskGetsItsRoomFromWhatWasAcknowledged(t *testing.T) {
	dir, ok := disk(t, "size=1m")
	if !ok {
		testLimitedFile(t)
		return
	}
	s := open(t, dir, Limits{SegmentBytes: 4 * page}, nil)
	add(t, s, 1, 2000)
	if err := errors.Join(s.Close(), os.Remove(filepath.Join(dir, cursorName))); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Limits{SegmentBytes: 4 * page}, nil)
	fillDisk(t, dir)
	if err := s.Ack(1900); err != nil {
		t.Fatal(err)
	}
	waitAfterReopen(t, s, 1901, 2000)
}

func TestADiskThatIsFullFromTheStartIsToldAndTheSpoolBeginsLater(t *testing.T) {
	dir, ok := disk(t, "size=64k")
	if !ok {
		testLimitedFile(t)
		return
	}
	release := fillDisk(t, dir)
	s := open(t, filepath.Join(dir, "spool"), Limits{Reserve: -1}, nil)
	for range 5 {
		_, err := s.Append(t.Context(), "s", body(1))
		checkFull(t, err)
	}
	if st := s.Stats(); st.Depth != 0 || st.LastSeq != 0 {
		t.Errorf("%+v", st)
	}
	release()
	add(t, s, 1, 20)
	waitAfterReopen(t, s, 1, 20)
}
