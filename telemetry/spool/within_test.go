package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// ramSpool is a spool whose readings live in memory for a minute first.
func ramSpool(t *testing.T, dir string, l Limits) *Spool {
	t.Helper()
	l.Within = time.Minute
	s := open(t, dir, l, nil)
	if _, err := s.Append(t.Context(), "s", body(1)); err != nil { // it notes on the medium which numbers it may give
		t.Fatal(err)
	}
	return s
}

// held is how many bytes live in memory.
func held(s *Spool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ram.bytes
}

func TestWhatIsAcknowledgedInTimeNeverTouchesTheFlash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := ramSpool(t, dir, Limits{})
		before, files := s.Stats().Written, fmt.Sprint(snapshot(t, dir))
		for i := 2; i < 3000; i++ {
			if _, err := s.Append(t.Context(), "s", body(i)); err != nil {
				t.Fatal(err)
			}
			got := s.After(uint64(i-2), 10, 1000)
			if len(got) != 2 || !bytes.Equal(got[1].Body, body(i)) {
				t.Fatalf("after %d: %v", i-2, got)
			}
			time.Sleep(time.Second)
			if err := s.Ack(uint64(i - 1)); err != nil {
				t.Fatal(err)
			}
		}
		if st := s.Stats(); st.Written != before || fmt.Sprint(snapshot(t, dir)) != files || st.InMemory != 1 {
			t.Errorf("%d bytes were written: %+v", st.Written-before, st)
		}
	})
}

func TestWhatIsNotAcknowledgedIsOnTheMediumWithinTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := ramSpool(t, dir, Limits{})
		writes := s.Stats().Written
		for i := 2; i <= 100; i++ {
			if _, err := s.Append(t.Context(), "s", body(i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if st := s.Stats(); st.InMemory != 100 || st.Written != writes || st.Depth != 100 {
			t.Errorf("too early: %+v", st)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if st := s.Stats(); st.InMemory != 0 || st.Written == writes {
			t.Errorf("too late: %+v", st)
		}
		want(t, open(t, dir, Limits{}, nil), 1, 100) // a power cut
		want(t, s, 1, 100)
	})
}

func TestCloseAndAFullMemoryWriteAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := ramSpool(t, dir, Limits{})
		for i := 2; i <= 5000; i++ {
			if _, err := s.Append(t.Context(), "s", body(i)); err != nil {
				t.Fatal(err)
			}
			if held(s) > ramBytes {
				t.Fatalf("%d bytes in memory", held(s))
			}
		}
		if d := open(t, dir, Limits{}, nil).Stats().Depth; d < 3000 {
			t.Errorf("%d of 5000 are on the medium", d)
		}
		again := reopened(t, s)
		want(t, again, 1, 5000)
		if _, err := again.Append(t.Context(), "s", body(5001)); err != nil {
			t.Fatal(err)
		}
		want(t, again, 1, 5001) // no number was left out
	})
}

func TestNumbersRiseAfterAPowerCutThatForgotReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		last := uint64(0)
		for range 4 {
			s := open(t, dir, Limits{Within: time.Minute}, nil)
			for range 10 {
				seq, err := s.Append(t.Context(), "s", []byte("x"))
				if err != nil || seq <= last {
					t.Fatalf("%d after %d, %v", seq, last, err)
				}
				last = seq
			}
			if err := s.Ack(last - 5); err != nil {
				t.Fatal(err)
			}
			s.ram.timer.Stop() // the power cut
		}
		s := open(t, dir, Limits{Within: time.Minute}, nil)
		if st := s.Stats(); st.Depth != 0 || st.Damaged != 0 || st.LastSeq < last {
			t.Errorf("%+v", st)
		}
	})
}

func TestFault30AMediumThatRefusesLeavesMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		l := Limits{Within: time.Minute, Drop: DropOldest}
		s := open(t, t.TempDir(), l, func(verb, _ string) error {
			if broken.Load() && verb == "append" {
				return label("append to", "x", syscall.EIO)
			}
			return nil
		})
		broken.Store(true)
		for i := 1; i <= 100; i++ {
			if _, err := s.Append(t.Context(), "s", body(i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if st := s.Stats(); !st.Late || st.Depth != 100 {
			t.Errorf("%+v", st)
		}
		for i := 101; i <= 10_000; i++ {
			if _, err := s.Append(t.Context(), "s", body(i)); err != nil {
				t.Fatal(err)
			}
		}
		st := s.Stats()
		if st.Dropped == 0 || st.Dropped+st.Depth != 10_000 || held(s) > ramBytes {
			t.Errorf("%+v", st)
		}
		broken.Store(false)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if now := s.Stats(); now.InMemory != 0 || now.Late || now.Dropped != st.Dropped {
			t.Errorf("%+v", now)
		}
		want(t, reopened(t, s), int(st.Dropped)+1, 10_000)
	})
}

func TestASpentBudgetStretchesWhatCanWait(t *testing.T) {
	for _, c := range []struct{ spent, budget, want int64 }{
		{0, 0, 1}, {99, 0, 1}, {0, 100, 1}, {50, 100, 1}, {75, 100, 5}, {100, 100, 10}, {500, 100, 10},
	} {
		if got := stretch(c.spent, c.budget); got != c.want {
			t.Errorf("stretch(%d, %d) = %d, want %d", c.spent, c.budget, got, c.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := ramSpool(t, dir, Limits{Budget: 4 << 10})
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if st := s.Stats(); !st.Spent || st.InMemory != 1 {
			t.Errorf("the budget is to be used up: %+v", st)
		}
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if st := s.Stats(); st.InMemory != 0 {
			t.Errorf("ten times the time has passed: %+v", st)
		}
		before := s.Stats().Today
		s = reopened(t, s)
		if now := s.Stats().Today; now < before/2 || !s.Stats().Spent {
			t.Errorf("%d bytes became %d", before, now)
		}
		time.Sleep(24 * time.Hour)
		if st := s.Stats(); st.Today != 0 || st.Spent {
			t.Errorf("the next day: %+v", st)
		}
	})
}

func TestAHeldReadingIsTheCallersNoMore(t *testing.T) {
	s := open(t, t.TempDir(), Limits{Within: time.Hour}, nil)
	b := []byte("mine")
	if _, err := s.Append(context.Background(), "s", b); err != nil {
		t.Fatal(err)
	}
	copy(b, "gone")
	if got := s.Peek(1); string(got[0].Body) != "mine" {
		t.Errorf("%q", got[0].Body)
	}
}

func TestAFailingMediumCostsNothingOfWhatMemoryHasRoomFor(t *testing.T) {
	s := open(t, t.TempDir(), Limits{Within: time.Hour}, func(verb, _ string) error {
		if verb == "append" {
			return label("append to", "x", syscall.EIO)
		}
		return nil
	})
	for i := uint64(1); i <= 70_000; i++ { // more numbers than are noted on the medium at a time
		seq, err := s.Append(t.Context(), "s", []byte("x"))
		if err != nil || seq != i {
			t.Fatalf("%d got number %d: %v", i, seq, err)
		}
		if i > 10 {
			if err := s.Ack(i - 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st := s.Stats(); st.Dropped != 0 || st.Depth != 10 {
		t.Errorf("%+v", st)
	}
}

func TestMoreReadingsThanThereAreNumbersForAreRefused(t *testing.T) {
	s := open(t, t.TempDir(), Limits{Within: time.Hour}, nil)
	for _, n := range []int{ahead / 2, ahead + 1} {
		rs := make([]Reading, n)
		for i := range rs {
			rs[i] = Reading{Stream: "s"}
		}
		done := make(chan error, 1)
		go func() {
			_, err := s.Put(t.Context(), rs...)
			done <- err
		}()
		select {
		case err := <-done:
			if n > ahead/2 != errors.Is(err, ErrTooLarge) || n <= ahead/2 && err != nil {
				t.Errorf("%d readings at once: %v", n, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%d readings at once are tried for ever", n)
		}
	}
}

func TestManyReadingsAtOnceAreHeldWhileTheMediumTakesNothing(t *testing.T) {
	s := open(t, t.TempDir(), Limits{Within: time.Hour}, func(string, string) error { return syscall.EIO })
	rs := make([]Reading, 1000)
	for i := range rs {
		rs[i] = Reading{Stream: "s", Body: []byte("x")}
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Put(t.Context(), rs...)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil || s.Stats().Depth != 1000 {
			t.Errorf("%v: %+v", err, s.Stats())
		}
	case <-time.After(time.Minute):
		t.Fatal("they are tried for ever")
	}
}
