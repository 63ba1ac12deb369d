package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
)

func open(t testing.TB, dir string, l Limits, step durable.Step) *Spool {
	t.Helper()
	s, err := Open(dir, l, step)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func body(i int) []byte { return fmt.Appendf(nil, "reading %d %s", i, strings.Repeat("x", i%50)) }

// add appends the readings from … to and returns nothing but certainty.
func add(t testing.TB, s *Spool, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		seq, err := s.Append(context.Background(), "s", body(i))
		if err != nil || seq != uint64(i) {
			t.Fatalf("append %d: seq %d, %v", i, seq, err)
		}
	}
}

// want checks that exactly the readings from … to wait.
func want(t testing.TB, s *Spool, from, to int) {
	t.Helper()
	got := s.Peek(1 << 20)
	if len(got) != to-from+1 {
		t.Fatalf("%d readings wait, want %d … %d: %+v", len(got), from, to, s.Stats())
	}
	for i, r := range got {
		if r.Seq != uint64(from+i) || r.Stream != "s" || !bytes.Equal(r.Body, body(from+i)) {
			t.Fatalf("reading %d is %d %q %q", from+i, r.Seq, r.Stream, r.Body)
		}
	}
	if d := s.Stats().Depth; d != uint64(len(got)) {
		t.Errorf("depth %d, want %d", d, len(got))
	}
}

func TestWhatWasPromisedIsThereAfterAKill(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 100)
	want(t, s, 1, 100)
	again := open(t, dir, Limits{}, nil)
	want(t, again, 1, 100)
	if again.ID() != s.ID() {
		t.Errorf("ID %s became %s", s.ID(), again.ID())
	}
	if got := again.Peek(3); len(got) != 3 || got[2].Seq != 3 || got[0].Time.IsZero() {
		t.Errorf("Peek(3) = %v", got)
	}
}

func TestNumbersGoOnAfterAllWasAcknowledgedAndTheProcessRestarted(t *testing.T) {
	dir := t.TempDir()
	next := 1
	for range 5 {
		s := open(t, dir, Limits{MaxBytes: 64 << 10, SegmentBytes: page}, nil)
		add(t, s, next, next+199)
		next += 200
		if err := s.Ack(uint64(next - 1)); err != nil {
			t.Fatal(err)
		}
		if got := s.Peek(10); len(got) != 0 {
			t.Fatalf("%d readings wait after all was acknowledged", len(got))
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if len(files) > 3 {
		t.Errorf("%d segments are left, want the newest and two to make others of", len(files))
	}
	for range 3 { // restarts without a reading in between
		s := open(t, dir, Limits{}, nil)
		if _, err := s.Append(t.Context(), "no good", nil); err == nil {
			t.Fatal("a bad stream was taken")
		}
	}
	add(t, open(t, dir, Limits{}, nil), next, next)
}

func TestFault7ARestartRepeatsAtMost256Acknowledged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 600)
	before, err := os.ReadFile(filepath.Join(dir, cursorName))
	if err != nil {
		t.Fatal(err)
	}
	synced := before
	for seq := uint64(1); seq <= 599; seq++ {
		was := s.cursor.synced
		if err := s.Ack(seq); err != nil {
			t.Fatal(err)
		}
		if s.cursor.synced != was {
			synced, _ = os.ReadFile(filepath.Join(dir, cursorName))
		}
	}
	want(t, open(t, dir, Limits{}, nil), 600, 600) // a kill
	if err := os.WriteFile(filepath.Join(dir, cursorName), synced, 0o600); err != nil {
		t.Fatal(err)
	}
	if d := open(t, dir, Limits{}, nil).Stats().Depth; d > 1+cursorEvery { // a power cut
		t.Errorf("%d readings wait, want at most %d", d, 1+cursorEvery)
	}
}

func TestFault31ALostCursorOnlyCostsRepeats(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 50)
	if err := s.Ack(20); err != nil {
		t.Fatal(err)
	}
	want(t, open(t, dir, Limits{}, nil), 21, 50)
	if err := os.Remove(filepath.Join(dir, cursorName)); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, Limits{}, nil)
	want(t, again, 1, 50)
	if again.ID() != s.ID() {
		t.Error("the ID changed")
	}
	if err := again.Ack(50); err != nil {
		t.Fatal(err)
	}
	add(t, again, 51, 52)
	want(t, open(t, dir, Limits{}, nil), 51, 52)
}

func TestALostCursorIsToldByTheSegmentsThatAreLeft(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{MaxBytes: 64 << 10, SegmentBytes: page}, nil)
	add(t, s, 1, 500)
	if err := s.Ack(400); err != nil {
		t.Fatal(err)
	}
	first, _ := parseName(segments(snapshot(t, dir))[0])
	if first < 200 {
		t.Fatalf("acknowledged segments are kept from %d on", first)
	}
	if err := os.Remove(filepath.Join(dir, cursorName)); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, Limits{}, nil)
	want(t, again, int(first), 500)
	if st := again.Stats(); st.Damaged != 0 || st.Acked != first-1 {
		t.Errorf("%+v", st)
	}
}

func TestOpenChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	open(t, dir, Limits{}, nil).Peek(1)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open made %s: %v", dir, err)
	}
	s := open(t, dir, Limits{SegmentBytes: page}, nil)
	add(t, s, 1, 300)
	before := snapshot(t, dir)
	want(t, open(t, dir, Limits{SegmentBytes: page}, nil), 1, 300)
	if after := snapshot(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("opening and reading changed the directory")
	}
}

// snapshot is the content of every file in dir.
func snapshot(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// restore makes dir hold exactly files.
func restore(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name := range snapshot(t, dir) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFault34WhatCanNeverBeSentIsRefusedAtTheDoor(t *testing.T) {
	s := open(t, t.TempDir(), Limits{}, nil)
	for _, stream := range []string{"", "a b", "a/b", "ä", strings.Repeat("x", 65), "a\x00"} {
		if _, err := s.Append(t.Context(), stream, nil); !errors.Is(err, ErrStream) || fault.Of(err) != fault.Permanent {
			t.Errorf("stream %q: %v", stream, err)
		}
	}
	if _, err := s.Append(t.Context(), "s", make([]byte, MaxBody+1)); !errors.Is(err, ErrTooLarge) || fault.Of(err) != fault.Permanent {
		t.Errorf("a body that is too large: %v", err)
	}
	if seq, err := s.Append(t.Context(), "s", make([]byte, MaxBody)); seq != 1 || err != nil {
		t.Errorf("the largest body: %d %v", seq, err)
	}
	if err := s.Ack(2); fault.Of(err) != fault.Permanent {
		t.Errorf("an acknowledgement of what was never promised: %v", err)
	}
	if got := s.Peek(1); len(got) != 1 || len(got[0].Body) != MaxBody {
		t.Error("the largest body did not come back")
	}
}

func TestFault51AnotherFormatIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Limits{}, nil), 1, 3)
	name := filepath.Join(dir, segmentName(1))
	b, _ := os.ReadFile(name)
	h, _ := readHead(b)
	h.version = 7
	if err := os.WriteFile(name, append(h.append(nil), b[headSize:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Limits{}, nil); fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
		t.Errorf("Open = %v", err)
	}
}
