package spool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCallersSideBySideShareAWrite(t *testing.T) {
	const callers = 64
	var writes atomic.Int64
	busy, release := make(chan struct{}), make(chan struct{})
	step := func(verb, _ string) error {
		if verb == "append" && writes.Add(1) == 1 {
			close(busy)
			<-release
		}
		return nil
	}
	dir := t.TempDir()
	s := open(t, dir, Limits{}, step)
	var wg sync.WaitGroup
	put := func() {
		if _, err := s.Append(t.Context(), "s", []byte("x")); err != nil {
			t.Error(err)
		}
	}
	wg.Go(put)
	<-busy
	for range callers {
		wg.Go(put)
	}
	for waiting := 0; waiting < callers; { // all have put theirs in while the first one is being written
		s.mu.Lock()
		if s.batch != nil {
			waiting = len(s.batch.entries)
		}
		s.mu.Unlock()
	}
	close(release)
	wg.Wait()
	if n := writes.Load(); n != 2 {
		t.Errorf("%d writes for 1 + %d readings, want 2", n, callers)
	}
	if st := open(t, dir, Limits{}, nil).Stats(); st.Depth != callers+1 {
		t.Errorf("%+v", st)
	}
}

func TestEveryoneWhoWaitedIsToldThatTheWriteFailed(t *testing.T) {
	refuse := atomic.Bool{}
	refuse.Store(true)
	cut := fmt.Errorf("cut")
	s := open(t, t.TempDir(), Limits{}, func(verb, _ string) error {
		if refuse.Load() && verb == "written" {
			return cut
		}
		return nil
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if seq, err := s.Append(t.Context(), "s", nil); err != cut || seq != 0 {
				t.Errorf("%d, %v", seq, err)
			}
		})
	}
	wg.Wait()
	if got := s.Peek(100); len(got) != 0 {
		t.Errorf("%d readings wait that were not promised", len(got))
	}
	refuse.Store(false)
	add(t, s, 1, 10)
	want(t, s, 1, 10)
	want(t, open(t, s.dir, Limits{}, nil), 1, 10)
}

func TestAppendPeekAndAckSideBySideLoseAndRepeatNothing(t *testing.T) {
	const callers, each = 8, 300
	dir := t.TempDir()
	s := open(t, dir, Limits{SegmentBytes: 8 << 10}, nil)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			last := uint64(0)
			for i := range each {
				seq, err := s.Append(t.Context(), fmt.Sprint("s", c), fmt.Appendf(nil, "%d", i))
				if err != nil || seq <= last {
					t.Errorf("append: %d after %d, %v", seq, last, err)
				}
				last = seq
			}
		})
	}
	counts := map[string]int{}
	for next := uint64(1); next <= callers*each; {
		<-s.Ready()
		got := s.Peek(50)
		for _, r := range got {
			if r.Seq != next || string(r.Body) != fmt.Sprint(counts[r.Stream]) {
				t.Fatalf("got %d %s %s, want %d and %d", r.Seq, r.Stream, r.Body, next, counts[r.Stream])
			}
			counts[r.Stream]++
			next++
		}
		if len(got) == 0 {
			t.Fatal("ready, but nothing to peek")
		}
		if err := s.Ack(next - 1); err != nil {
			t.Fatal(err)
		}
		_ = s.Stats()
	}
	wg.Wait()
	if st := s.Stats(); st.Depth != 0 || st.Damaged != 0 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
}
