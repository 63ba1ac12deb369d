package spool

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// inodes are the files that the segments are.
func inodes(t *testing.T, dir string) map[uint64]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint64]bool{}
	for _, path := range files {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		found[st.Ino] = true
	}
	return found
}

func TestAnOutageIsWrittenOverTheOneBeforeAlsoAfterARestart(t *testing.T) {
	dir := memory(t)
	l := Limits{MaxBytes: 1 << 20, SegmentBytes: 16 << 10}
	next := 1
	var first map[uint64]bool
	for range 5 {
		s := open(t, dir, l, nil)
		add(t, s, next, next+1000)
		next += 1001
		switch now := inodes(t, dir); {
		case first == nil:
			first = now
		case len(now) > len(first)+1:
			t.Errorf("%d files became %d", len(first), len(now))
		default:
			fresh := 0
			for n := range now {
				if !first[n] {
					fresh++
				}
			}
			if fresh > 1 { // a life ends in the middle of a segment
				t.Errorf("%d of %d files are new", fresh, len(now))
			}
		}
		want(t, s, next-1001, next-1)
		if err := s.Ack(uint64(next - 1)); err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(); st.Bytes > l.spare()+l.SegmentBytes {
			t.Errorf("%d bytes are kept", st.Bytes)
		}
	}
}

func TestAFileWithNumbersThatAreGivenAgainIsNotWrittenOver(t *testing.T) {
	for _, restart := range []bool{false, true} {
		dir := memory(t)
		failing := false
		step := func(verb, _ string) error {
			if failing && verb == "written" {
				return errCut
			}
			return nil
		}
		l := Limits{SegmentBytes: 16 << 10}
		s := open(t, dir, l, step)
		add(t, s, 1, 130)
		var rs []Reading
		for range 60 {
			rs = append(rs, Reading{Stream: "s", Body: []byte("this was refused: nobody is to see it in another's place")})
		}
		failing = true
		if _, err := s.Put(t.Context(), rs...); err == nil {
			t.Fatal("the commit was to fail")
		}
		failing = false
		add(t, s, 131, 131)
		if err := s.Ack(131); err != nil {
			t.Fatal(err)
		}
		if restart {
			s = reopened(t, s)
		} else {
			s.end()
		}
		large := Reading{Stream: "s", Body: make([]byte, 9000)} // it ends among those that were refused
		if _, err := s.Put(t.Context(), large); err != nil {
			t.Fatal(err)
		}
		if got := open(t, dir, l, nil).Peek(100); len(got) != 1 || got[0].Seq != 132 || len(got[0].Body) != 9000 { // a kill
			t.Errorf("restart %v: %d readings wait", restart, len(got))
		}
	}
}

// Whoever acknowledges and whoever appends want to do away with the same segments.
func TestSegmentsAreUsedAgainWhileOthersAreGivenBack(t *testing.T) {
	dir := memory(t)
	l := Limits{MaxBytes: 64 << 10, SegmentBytes: page}
	s := open(t, dir, l, nil)
	const n = 5000
	done := make(chan error, 1)
	go func() {
		for acked := uint64(0); acked < n; {
			<-s.Ready()
			got := s.After(acked, 50, 1<<20)
			if len(got) == 0 {
				continue
			}
			acked = got[len(got)-1].Seq
			if err := s.Ack(acked); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	add(t, s, 1, n)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Damaged != 0 || st.Depth != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := os.Stat(filepath.Join(dir, cursorName)); err != nil {
		t.Error(err)
	}
}
