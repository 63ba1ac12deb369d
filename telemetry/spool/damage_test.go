package spool

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// segments returns the names of the segments of a snapshot, oldest first.
func segments(files map[string][]byte) (names []string) {
	for name := range files {
		if strings.HasSuffix(name, segmentSuffix) {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// salvaged opens dir and returns what waits there, by number; no reading may be another than it was.
func salvaged(t *testing.T, dir, when string) (map[uint64]bool, Stats) {
	t.Helper()
	s, err := Open(dir, Limits{}, nil)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	defer s.head.close()
	found := map[uint64]bool{}
	for _, r := range s.Peek(1 << 20) {
		if r.Stream != "s" || !bytes.Equal(r.Body, body(int(r.Seq))) {
			t.Fatalf("%s: reading %d came back as %q", when, r.Seq, r.Body)
		}
		found[r.Seq] = true
	}
	st := s.Stats()
	if st.Depth != uint64(len(found)) {
		t.Fatalf("%s: depth %d, %d found", when, st.Depth, len(found))
	}
	return found, st
}

func TestFault32ACutAtAnyByteOfTheLastReadingLosesNoOther(t *testing.T) {
	dir := memory(t)
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 12)
	name := filepath.Join(dir, segmentName(1))
	whole := snapshot(t, dir)[segmentName(1)][:s.out.end]
	last := frameSize(Record{Stream: "s", Body: body(12)})
	for cut := len(whole) - last; cut < len(whole); cut++ {
		for _, tail := range []int{0, 3 * page} { // the file ends there, or goes on in zeros
			if err := os.WriteFile(name, append(whole[:cut:cut], make([]byte, tail)...), 0o600); err != nil {
				t.Fatal(err)
			}
			found, st := salvaged(t, dir, fmt.Sprintf("cut at %d, %d zeros", cut, tail))
			// With a body that ends in zeros, a frame in zeros may be whole; this one's does not.
			if len(found) != 11 || st.Damaged != 0 || st.LastSeq != 11 {
				t.Fatalf("cut at %d, %d zeros: %d found, %+v", cut, tail, len(found), st)
			}
			if st.Torn == 0 && cut != len(whole)-last {
				t.Fatalf("cut at %d, %d zeros: the torn tail is not told", cut, tail)
			}
		}
	}
	again := open(t, dir, Limits{}, nil)
	add(t, again, 12, 14)
	want(t, open(t, dir, Limits{}, nil), 1, 14)
}

func TestFault32AnyFlippedBitCostsAtMostOneReading(t *testing.T) {
	for _, loseCursor := range []bool{false, true} {
		dir := memory(t)
		s := open(t, dir, Limits{}, nil)
		add(t, s, 1, 12)
		end := s.out.end
		add(t, open(t, dir, Limits{}, nil), 13, 15)
		if loseCursor {
			_ = os.Remove(filepath.Join(dir, cursorName))
		}
		flipEvery(t, dir, segmentName(1), end, loseCursor)
	}
}

func flipEvery(t *testing.T, dir, name string, end int64, loseCursor bool) {
	path := filepath.Join(dir, name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for bit := range end * 8 {
		at, mask := bit/8, byte(1)<<(bit%8)
		if _, err := f.WriteAt([]byte{whole[at] ^ mask}, at); err != nil {
			t.Fatal(err)
		}
		found, st := salvaged(t, dir, fmt.Sprintf("bit %d of byte %d, cursor lost %v", bit%8, at, loseCursor))
		lost := 15 - len(found)
		if lost > 1 || int(st.Damaged) != lost || lost == 1 != (at >= headSize) {
			t.Fatalf("bit %d of byte %d: %d lost, %+v", bit%8, at, lost, st)
		}
		if _, err := f.WriteAt(whole[at:at+1], at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnyFlippedBitOfTheNewestSegmentCostsAtMostOneReading(t *testing.T) {
	dir := memory(t)
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 4)
	whole := snapshot(t, dir)
	_ = os.Remove(filepath.Join(dir, cursorName))
	for bit := range s.out.end * 8 {
		b := bytes.Clone(whole[segmentName(1)])
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(filepath.Join(dir, segmentName(1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		found, st := salvaged(t, dir, fmt.Sprintf("bit %d", bit))
		if lost := 4 - len(found); lost > 1 || lost == 1 && st.Damaged == 0 && st.Torn == 0 {
			t.Fatalf("bit %d: %d lost, %+v", bit, lost, st)
		}
	}
}

func TestFault31AnyFlippedBitOfTheCursorCostsOnlyRepeats(t *testing.T) {
	dir := memory(t)
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 9)
	if err := s.Ack(4); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, cursorName)
	whole, _ := os.ReadFile(path)
	for bit := range len(whole) * 8 {
		if at := bit / 8 % slotApart; at >= slotBytes {
			continue
		}
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		found, st := salvaged(t, dir, fmt.Sprintf("bit %d", bit))
		for seq := uint64(5); seq <= 9; seq++ {
			if !found[seq] {
				t.Fatalf("bit %d: reading %d is lost: %+v", bit, seq, st)
			}
		}
	}
}

func TestFault32FourZeroedKilobytesCostWhatWasInThem(t *testing.T) {
	dir := memory(t)
	s := open(t, dir, Limits{SegmentBytes: 16 << 10}, nil)
	add(t, s, 1, 1000)
	whole := snapshot(t, dir)
	perPage := page/frameSize(Record{Stream: "s", Body: body(100)}) + 2
	for _, name := range segments(whole) {
		for at := 0; at+page <= len(whole[name]); at += page / 2 {
			b := bytes.Clone(whole[name])
			clear(b[at : at+page])
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			found, st := salvaged(t, dir, fmt.Sprintf("%s zeroed from %d", name, at))
			if lost := 1000 - len(found); lost > perPage {
				t.Fatalf("%s zeroed from %d: %d lost: %+v", name, at, lost, st)
			}
			if st.LastSeq == 1000 && int(st.Damaged) != 1000-len(found) {
				t.Fatalf("%s zeroed from %d: %d found: %+v", name, at, len(found), st)
			}
		}
		restore(t, dir, whole)
	}
}

func TestALostSegmentIsCountedAndTheRestDelivered(t *testing.T) {
	dir := memory(t)
	s := open(t, dir, Limits{SegmentBytes: page}, nil)
	add(t, s, 1, 500)
	names := segments(snapshot(t, dir))
	one, _ := parseName(names[1])
	two, _ := parseName(names[2])
	if err := os.Remove(filepath.Join(dir, names[1])); err != nil {
		t.Fatal(err)
	}
	found, st := salvaged(t, dir, "a segment removed")
	if lost := two - one; st.Damaged != lost || len(found) != 500-int(lost) {
		t.Errorf("%d found, want %d lost: %+v", len(found), lost, st)
	}
}
