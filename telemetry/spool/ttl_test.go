package spool

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAnExpiredReadingIsNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, w := Limits{TTL: time.Hour, SegmentBytes: page}, &wall{shift: 27 * 365 * 24 * time.Hour}
		s := clocked(t, dir, l, w)
		add(t, s, 1, 100)
		time.Sleep(40 * time.Minute)
		add(t, s, 101, 200)
		want(t, s, 1, 200)
		time.Sleep(30 * time.Minute)
		again := clocked(t, dir, l, &wall{shift: w.shift}) // a kill
		for _, s := range []*Spool{s, again} {
			want(t, s, 101, 200)
			if st := s.Stats(); st.Expired != 100 || st.Dropped != 0 || st.Damaged != 0 || st.FirstSeq != 101 {
				t.Errorf("%+v", st)
			}
		}
		time.Sleep(time.Hour)
		if got := again.After(0, 10, 1000); len(got) != 0 || closed(again.Ready()) || again.Stats().Expired != 200 {
			t.Errorf("%d readings, %+v", len(got), again.Stats())
		}
		if err := again.Ack(200); err != nil {
			t.Error(err)
		}
		if st := reopened(t, again).Stats(); st.Expired != 200 || st.Depth != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// wall is a clock that can be set.
type wall struct {
	opened time.Time
	shift  time.Duration
}

func (w *wall) read() (time.Time, time.Duration) {
	up := time.Since(w.opened)
	return time.Now().Add(w.shift), up
}

// clocked opens a spool whose clock is w.
func clocked(t *testing.T, dir string, l Limits, w *wall) *Spool {
	t.Helper()
	s := open(t, dir, l, nil)
	w.opened = time.Now()
	s.clock = clock{read: w.read}
	s.clock.look(s.next)
	return s
}

func TestFault8And9AClockThatJumpsExpiresNothingEarly(t *testing.T) {
	now := func(from int) time.Duration { return time.Until(time.Date(from, 6, 1, 0, 0, 0, 0, time.UTC)) }
	for name, shifts := range map[string][3]int{
		"1970, then 2026":       {1970, 2026, 2026},
		"2026, 1970, 2026":      {2026, 1970, 2026},
		"1970 before a restart": {1970, 1970, 2026},
		"ten years on and back": {2026, 2036, 2026},
		"ten years back and on": {2026, 2016, 2026},
	} {
		synctest.Test(t, func(t *testing.T) {
			dir, w, l := t.TempDir(), &wall{}, Limits{TTL: time.Hour}
			w.shift = now(shifts[0])
			s := clocked(t, dir, l, w)
			add(t, s, 1, 10)
			time.Sleep(10 * time.Minute)
			w.shift = now(shifts[1])
			want(t, s, 1, 10)
			add(t, s, 11, 20)
			time.Sleep(10 * time.Minute)
			s = clocked(t, dir, l, w)
			want(t, s, 1, 20)
			w.shift = now(shifts[2])
			want(t, s, 1, 20)
			add(t, s, 21, 30)
			time.Sleep(30 * time.Minute)
			got := s.Peek(100)
			if len(got) == 0 || got[len(got)-1].Seq != 30 {
				t.Errorf("%s: %d readings wait: %+v", name, len(got), s.Stats())
			}
			time.Sleep(31 * time.Minute)
			if got := s.Peek(100); len(got) != 0 {
				t.Errorf("%s: %d readings do not expire", name, len(got))
			}
		})
	}
}
