package spool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

func TestARefusedReadingIsToldAndNothingIsLost(t *testing.T) {
	for _, drop := range []Drop{Refuse, DropNewest} {
		s := open(t, t.TempDir(), Limits{MaxBytes: 64 << 10, SegmentBytes: 8 << 10, Drop: drop}, nil)
		last := 0
		var err error
		for err == nil {
			last++
			_, err = s.Append(t.Context(), "s", body(last))
		}
		if !errors.Is(err, ErrFull) || (fault.RetryAfter(err) > 0) != (drop == Refuse) || (fault.Of(err) == fault.Permanent) != (drop == DropNewest) {
			t.Errorf("%v: %v", drop, err)
		}
		if _, err := s.Put(t.Context(), Reading{Stream: "s"}, Reading{Stream: "s", Body: make([]byte, 9000)}); !errors.Is(err, ErrFull) {
			t.Errorf("%v: %v", drop, err)
		}
		want(t, s, 1, last-1)
		if st := s.Stats(); st.Refused != 3 || st.Dropped != 0 || st.Bytes > 64<<10 || last < 300 {
			t.Errorf("%+v", st)
		}
		if err := s.Ack(uint64(last / 2)); err != nil {
			t.Fatal(err)
		}
		add(t, s, last, last+100)
		again := reopened(t, s)
		want(t, again, last/2+1, last+100)
		if again.Stats().Refused != 3 {
			t.Error("the refusals are forgotten")
		}
	}
}

func reopened(t testing.TB, s *Spool) *Spool {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, s.dir, s.limits, nil)
}

func TestFault34APoisonMessageIsSetAsideForGood(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 5)
	for _, seq := range []uint64{3, 1, 3} {
		if err := s.Aside(seq); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Aside(6); fault.Of(err) != fault.Permanent {
		t.Errorf("set aside what never was: %v", err)
	}
	again := open(t, dir, Limits{}, nil) // a kill
	for _, s := range []*Spool{s, again} {
		got := s.Peek(10)
		if len(got) != 3 || got[0].Seq != 2 || got[1].Seq != 4 || got[2].Seq != 5 {
			t.Errorf("%v", got)
		}
		if st := s.Stats(); st.Poisoned != 2 || st.Damaged != 0 || st.Depth != 3 {
			t.Errorf("%+v", st)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "00000000000000000003.poison"))
	if err != nil || !bytes.HasSuffix(b, body(3)) {
		t.Errorf("%q, %v", b, err)
	}
	if err := again.Ack(5); err != nil || again.Stats().Poisoned != 2 || again.Stats().Depth != 0 {
		t.Errorf("%v %+v", err, again.Stats())
	}
}

func TestAHalfWrittenPoisonFileHidesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 3)
	if err := s.Aside(2); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "00000000000000000002.poison")
	if err := os.Truncate(path, headSize+10); err != nil {
		t.Fatal(err)
	}
	want(t, open(t, dir, Limits{}, nil), 1, 3)
}

func TestTheReserveIsLeftToOthers(t *testing.T) {
	dir, ok := disk(t, "size=4m")
	if !ok {
		return
	}
	for _, drop := range []Drop{DropOldest, Refuse} {
		path := filepath.Join(dir, fmt.Sprint("spool", drop))
		s := open(t, path, Limits{SegmentBytes: 64 << 10, Reserve: 1 << 20, Drop: drop}, nil)
		big := make([]byte, 50_000)
		var err error
		for i := 0; i < 100 && err == nil; i++ {
			_, err = s.Append(t.Context(), "s", big)
		}
		if drop == Refuse && (!errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) || fault.Of(err) != fault.Operator) {
			t.Errorf("refuse: %v", err)
		}
		if st := s.Stats(); drop == DropOldest && (err != nil || st.Dropped == 0) {
			t.Errorf("drop the oldest: %v %+v", err, st)
		}
		if free := room(t, dir) * page; free < 1<<20 {
			t.Errorf("%v: %d bytes are free", drop, free)
		}
		if err := errors.Join(s.Close(), os.RemoveAll(path)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFault29AFullDiskGivesUpTheOldestAndGoesOn(t *testing.T) {
	dir, ok := disk(t, "size=1m")
	if !ok {
		return
	}
	s := open(t, filepath.Join(dir, "spool"), Limits{SegmentBytes: 32 << 10, Reserve: 1}, nil)
	add(t, s, 1, 2000)
	release := fillDisk(t, dir)
	add(t, s, 2001, 9000)
	st := s.Stats()
	if st.Dropped == 0 || st.Damaged != 0 {
		t.Errorf("%+v", st)
	}
	want(t, s, int(st.Dropped)+1, 9000)
	release()
	add(t, s, 9001, 9100)
	want(t, reopened(t, s), int(s.Stats().Dropped)+1, 9100)
}

func TestExpiredReadingsMakeRoomForNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Limits{TTL: time.Hour, MaxBytes: 64 << 10, SegmentBytes: 8 << 10, Drop: Refuse}
		s := open(t, t.TempDir(), l, nil)
		var err error
		last := 0
		for err == nil {
			last++
			_, err = s.Append(t.Context(), "s", body(last))
		}
		time.Sleep(2 * time.Hour)
		add(t, s, last, last+500)
		if st := s.Stats(); st.Expired != uint64(last-1) || st.Refused != 1 {
			t.Errorf("%+v", st)
		}
	})
}
