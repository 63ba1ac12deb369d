package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

func TestReadyIsClosedExactlyWhileSomethingWaits(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	empty := s.Ready()
	if closed(empty) {
		t.Fatal("ready although nothing waits")
	}
	add(t, s, 1, 2)
	if !closed(empty) || !closed(s.Ready()) {
		t.Error("not ready although two readings wait")
	}
	if err := s.Ack(1); err != nil || !closed(s.Ready()) {
		t.Errorf("not ready although one reading waits: %v", err)
	}
	if err := s.Ack(2); err != nil || closed(s.Ready()) {
		t.Errorf("ready although nothing waits: %v", err)
	}
	add(t, s, 3, 3)
	if !closed(open(t, dir, Limits{}, nil).Ready()) {
		t.Error("not ready after a restart although a reading waits")
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestABacklogLargerThanMemoryComesBackInOrder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{SegmentBytes: 256 << 10}, nil)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	for i := range 400 { // 6.4 MB
		if _, err := s.Append(t.Context(), "s", append([]byte(fmt.Sprint(i+1, " ")), big...)); err != nil {
			t.Fatal(err)
		}
	}
	for next := uint64(1); next <= 400; {
		got := s.Peek(1000)
		if len(got) == 0 || s.Stats().Depth != 401-next {
			t.Fatalf("a peek of %d readings at %d: %+v", len(got), next, s.Stats())
		}
		held := 0
		for _, r := range got {
			if r.Seq != next || !bytes.HasPrefix(r.Body, fmt.Appendf(nil, "%d 0123", next)) {
				t.Fatalf("reading %d came as %d %.20q", next, r.Seq, r.Body)
			}
			next++
			held += len(r.Body)
		}
		if held > windowBytes+chunk {
			t.Fatalf("%d bytes in memory", held)
		}
		if err := s.Ack(next - 1); err != nil {
			t.Fatal(err)
		}
		if next > 200 {
			s = open(t, dir, Limits{}, nil)
		}
	}
}

func TestANewReadingWaitsBehindTheBacklog(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Limits{}, nil), 1, 100)
	s := open(t, dir, Limits{}, nil)
	add(t, s, 101, 103)
	if got := s.Peek(1); got[0].Seq != 1 {
		t.Errorf("the first is %d", got[0].Seq)
	}
	add(t, s, 104, 105)
	want(t, s, 1, 105)
}

func TestOverTheLimitTheOldestGoAndAreCounted(t *testing.T) {
	dir := t.TempDir()
	l := Limits{MaxBytes: 64 << 10, SegmentBytes: 8 << 10}
	s := open(t, dir, l, nil)
	add(t, s, 1, 2000)
	st := s.Stats()
	if st.Dropped == 0 || st.Bytes > l.MaxBytes || st.Damaged != 0 {
		t.Fatalf("%+v", st)
	}
	want(t, s, int(st.Dropped)+1, 2000)
	again := open(t, dir, l, nil)
	want(t, again, int(st.Dropped)+1, 2000)
	if again.Stats().Dropped != st.Dropped {
		t.Errorf("%d dropped became %d", st.Dropped, again.Stats().Dropped)
	}
	if err := again.Ack(2000); err != nil {
		t.Fatal(err)
	}
	add(t, again, 2001, 2050)
	want(t, again, 2001, 2050)
}

func TestACancelledAppendPromisesNothingAndHoldsUpNobody(t *testing.T) {
	s := open(t, t.TempDir(), Limits{}, nil)
	s.turn <- struct{}{} // the medium is busy
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { _, err := s.Append(ctx, "s", []byte("cancelled")); result <- err }()
	for waiting := false; !waiting; {
		s.mu.Lock()
		waiting = s.batch != nil
		s.mu.Unlock()
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-s.turn
	add(t, s, 1, 3)
	want(t, s, 1, 3)
	if _, err := s.Append(ctx, "s", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("append with a cancelled context: %v", err)
	}
}

func TestAClosedSpoolTakesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 5)
	if err := errors.Join(s.Ack(2), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "s", nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("append to a closed spool: %v", err)
	}
	want(t, open(t, dir, Limits{}, nil), 3, 5)
}
