package spool

import (
	"bytes"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

func TestPutIsOneCommitWithNumbersInARow(t *testing.T) {
	writes := 0
	dir := t.TempDir()
	s := open(t, dir, Limits{}, func(verb, _ string) error {
		if verb == "append" {
			writes++
		}
		return nil
	})
	add(t, s, 1, 1)
	writes = 0
	rs := []Reading{{"a", "", []byte("1")}, {"b", "application/cbor", []byte("2")}, {"c", usualType, []byte("3")}}
	first, err := s.Put(t.Context(), rs...)
	if first != 2 || err != nil || writes != 1 {
		t.Fatalf("first %d, %v, %d writes", first, err, writes)
	}
	for _, s := range []*Spool{s, open(t, dir, Limits{}, nil)} {
		got := s.After(1, 10, 1<<20)
		if len(got) != 3 || got[1].Seq != 3 || got[1].Type != "application/cbor" || got[1].Stream != "b" || got[2].Type != "" {
			t.Errorf("%+v", got)
		}
	}
	if rs[2].Type != usualType {
		t.Error("the caller's reading was changed")
	}
}

func TestOfAPutThatIsRefusedNothingIsKept(t *testing.T) {
	s := open(t, t.TempDir(), Limits{MaxBytes: 1 << 20}, nil)
	big := Reading{Stream: "s", Body: make([]byte, 200<<10)}
	for _, rs := range [][]Reading{
		{{Stream: "good"}, {Stream: "no good"}},
		{{Stream: "s", Type: "a\nb"}},
		{{Stream: "s", Type: strings.Repeat("x", 128)}},
		{big, big, big},
	} {
		if first, err := s.Put(t.Context(), rs...); first != 0 || fault.Of(err) != fault.Permanent || err == nil {
			t.Errorf("%d, %v", first, err)
		}
	}
	if first, err := s.Put(t.Context()); first != 0 || err != nil {
		t.Errorf("nothing: %d, %v", first, err)
	}
	if st := s.Stats(); st.Depth != 0 {
		t.Errorf("%+v", st)
	}
}

func TestAfterServesAWindowInFlight(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Limits{SegmentBytes: 8 << 10}, nil), 1, 1000)
	s := open(t, dir, Limits{SegmentBytes: 8 << 10}, nil)
	acked := 0
	for sent := 0; sent < 1000; {
		got := s.After(uint64(sent), 7, 300)
		size := 0
		for i, r := range got {
			if size += len(r.Body); r.Seq != uint64(sent+1+i) || !bytes.Equal(r.Body, body(sent+1+i)) {
				t.Fatalf("after %d came %d %q", sent, r.Seq, r.Body)
			}
		}
		if len(got) == 0 || len(got) > 7 || size > 300 {
			t.Fatalf("after %d: %d readings of %d bytes", sent, len(got), size)
		}
		sent += len(got)
		for ; acked < sent-40; acked++ {
			if err := s.Ack(uint64(acked + 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := s.After(1000, 5, 1000); len(got) != 0 {
		t.Errorf("behind the last: %v", got)
	}
	want(t, s, acked+1, 1000) // a lost session begins anew
	if got := s.After(uint64(acked+3), 1, 0); len(got) != 1 || got[0].Seq != uint64(acked+4) {
		t.Errorf("at least one: %v", got)
	}
}

func TestAfterHoldsABoundedPartOfTheQueue(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{SegmentBytes: 256 << 10}, nil)
	for range 300 {
		if _, err := s.Append(t.Context(), "s", make([]byte, 20_000)); err != nil {
			t.Fatal(err)
		}
	}
	for sent := uint64(0); sent < 300; { // nothing is acknowledged
		got := s.After(sent, 16, 64<<10)
		if len(got) == 0 || got[0].Seq != sent+1 {
			t.Fatalf("after %d: %d readings", sent, len(got))
		}
		sent = got[len(got)-1].Seq
		if s.head.bytes > windowBytes+2*chunk {
			t.Fatalf("%d bytes in memory", s.head.bytes)
		}
	}
}

func TestALargeCommitWritesNoPageOfTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	pages := map[int64]int{}
	const n, commits, fresh, rounds = 97, 60, 4, 6 // after four rounds all is written over old segments
	s := open(t, dir, Limits{}, nil)
	put := func(s *Spool) {
		rs := make([]Reading, n)
		for i := range rs {
			rs[i] = Reading{Stream: "s", Body: bytes.Repeat([]byte{byte(i)}, 200)}
		}
		if _, err := s.Put(t.Context(), rs...); err != nil {
			t.Fatal(err)
		}
	}
	for round := range rounds {
		before := s.Stats().Written
		for range commits {
			put(s)
			pages[s.out.end%page]++
		}
		frames := int64(commits * n * frameSize(Record{Stream: "s", Body: make([]byte, 200)}))
		most := frames + frames/8
		if round < fresh {
			most += commits * journal
		}
		if written := s.Stats().Written - before; written > most {
			t.Errorf("round %d: %d bytes written for %d of frames", round, written, frames)
		}
		again := open(t, dir, Limits{}, nil)
		if got := again.Stats(); got.Damaged != 0 || got.Depth != commits*n || got.Torn != 0 {
			t.Errorf("%+v", got)
		}
		if err := s.Ack(s.Stats().LastSeq); err != nil {
			t.Fatal(err)
		}
	}
	if pages[0] < (rounds-1)*commits {
		t.Errorf("%d of %d commits end with a page", pages[0], rounds*commits)
	}
}
