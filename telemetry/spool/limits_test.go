package spool

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// taken is what the files in dir take of the medium, whatever their length says.
func taken(t *testing.T, dir string) (n int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		n += st.Blocks * 512
	}
	return n
}

func TestLivesThatWriteLittleTakeLittle(t *testing.T) {
	dir, ok := mountDevice(t, filepath.Join(memory(t), "device"), true)
	if !ok {
		dir = memory(t)
	}
	dir = filepath.Join(dir, "spool")
	const lives = 6
	for i := range lives {
		s := open(t, dir, Limits{Reserve: -1}, nil)
		add(t, s, i+1, i+1)
		if i%2 == 0 { // the others are killed
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := open(t, dir, Limits{Reserve: -1}, nil)
	want(t, s, 1, lives)
	if n, most := taken(t, dir), s.limits.SegmentBytes+lives*4*page; n > most {
		t.Errorf("%d readings take %d bytes of the medium", lives, n)
	}
}

func TestAClosedSpoolLeavesItsFilesAlone(t *testing.T) {
	for _, l := range []Limits{{}, {Within: 1 << 40}} {
		dir := t.TempDir()
		s := open(t, dir, l, nil)
		add(t, s, 1, 600)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, dir)
		_, putting := s.Append(t.Context(), "s", body(601))
		for what, err := range map[string]error{"append": putting, "acknowledge": s.Ack(500), "set aside": s.Aside(550)} {
			if err == nil {
				t.Errorf("%s: a closed spool did", what)
			}
		}
		for name, b := range snapshot(t, dir) {
			if string(before[name]) != string(b) {
				t.Errorf("%s was written to", name)
			}
		}
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
}
