package spool

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFault32SixtyFourDamagedMegabytesOpenInASecond(t *testing.T) {
	dir := memory(t)
	l := Limits{MaxBytes: 256 << 20}
	s := open(t, dir, l, nil)
	rs := make([]Reading, 4000)
	for i := range rs {
		rs[i] = Reading{Stream: "sensors", Body: payload}
	}
	for s.Stats().Bytes < 64<<20 {
		if _, err := s.Put(t.Context(), rs...); err != nil {
			t.Fatal(err)
		}
	}
	names := segments(snapshot(t, dir))
	for _, name := range names { // one bit in each
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Remove(filepath.Join(dir, cursorName))
	start := time.Now()
	again, err := Open(dir, l, nil)
	if err != nil || len(again.Peek(1)) != 1 {
		t.Fatal(err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	n := uint64(0)
	for seq := uint64(0); ; {
		got := again.After(seq, 1000, 1<<20)
		if len(got) == 0 {
			break
		}
		n += uint64(len(got))
		seq = got[len(got)-1].Seq
	}
	if lost := s.Stats().Depth - n; lost > uint64(len(names)) || lost != again.Stats().Damaged {
		t.Errorf("%d lost by %d flipped bits: %+v", lost, len(names), again.Stats())
	}
}
