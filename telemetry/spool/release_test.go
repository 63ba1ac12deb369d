package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// testdata/release1 was written by the release before: 130 readings, of which 70 are acknowledged.
func release1(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	files := snapshot(t, filepath.Join("testdata", "release1"))
	if len(files) < 3 {
		t.Fatal("testdata/release1 is not whole")
	}
	restore(t, dir, files)
	return dir
}

func TestFault51AnUpgradeFindsTheFullQueue(t *testing.T) {
	for _, l := range []Limits{{}, {Within: time.Hour, TTL: 400 * 24 * time.Hour, Budget: 1 << 20}} {
		s := open(t, release1(t), l, nil)
		for range 2 {
			got := s.Peek(1000)
			if len(got) != 60 || got[0].Seq != 71 || got[0].Stream != "s" || got[59].Stream != "stream-1" || got[59].Type != "" {
				t.Fatalf("%d readings wait: %+v", len(got), s.Stats())
			}
			for _, r := range got {
				if !bytes.Equal(r.Body, body(int(r.Seq))) || r.Time.Year() < 2026 {
					t.Errorf("%d is %q of %v", r.Seq, r.Body, r.Time)
				}
			}
			if st := s.Stats(); st.Acked != 70 || st.Damaged != 0 || st.Torn != 0 || st.LastSeq != 130 {
				t.Errorf("%+v", st)
			}
			if _, err := s.Append(t.Context(), "s", body(131)); err != nil {
				t.Fatal(err)
			}
			s = reopened(t, s)
			if got := s.Peek(1000); len(got) != 61 || got[60].Seq != 131 {
				t.Fatalf("%d readings wait: %+v", len(got), s.Stats())
			}
			s = open(t, release1(t), l, nil)
		}
	}
}

func TestAFrameWithoutATypeIsBitForBitThatOfTheReleaseBefore(t *testing.T) {
	i := id{1, 2, 3, 4, 5, 6, 7, 8}
	r := Record{Seq: 7, Time: time.Unix(3, 4), Stream: "boiler", Body: []byte(`{"celsius":21.5}`)}
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(i[:]))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, 7)
	b = binary.LittleEndian.AppendUint64(b, 3_000_000_004)
	b = append(b, 16, 0, 0, 6)
	b = append(b, "boiler"+`{"celsius":21.5}`...)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[4:], crc32.Update(crc32.Checksum(i[:], table), table, b[8:]))
	if got := newKey(i).appendFrame(nil, r); !bytes.Equal(got, b) {
		t.Errorf("%x, want %x", got, b)
	}
}

// before reads a segment as the release before does: it knows no type, passes over what it does not know, and counts
// the numbers that are missing.
func before(t *testing.T, path string, base, end uint64) (found map[uint64]string, damaged int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found = map[uint64]string{}
	i := id(b[8:16])
	magic := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(i[:]))
	next := base
	for b = b[headSize:]; len(b) >= frameHead; {
		body, stream := int(binary.LittleEndian.Uint32(b[24:])&0xffffff), int(b[27])
		size := frameHead + stream + body
		whole := bytes.Equal(b[:4], magic) && 0 < stream && stream <= 64 && body <= MaxBody && size <= len(b) &&
			crc32.Update(crc32.Checksum(i[:], castagnoli), castagnoli, b[8:size]) == binary.LittleEndian.Uint32(b[4:])
		if !whole {
			at := bytes.Index(b[1:], magic)
			if at < 0 {
				break
			}
			b = b[1+at:]
			continue
		}
		if seq := binary.LittleEndian.Uint64(b[8:]); next <= seq && seq < end {
			found[seq] = string(b[frameHead+stream : size])
			next = seq + 1
		}
		b = b[size:]
	}
	return found, int(end-base) - len(found)
}

func TestFault51ADowngradeReadsWhatItKnowsAndCountsTheRest(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{}, nil)
	for i := 1; i <= 30; i++ {
		r := Reading{Stream: "s", Body: body(i)}
		if i%3 == 0 {
			r.Type = "application/cbor"
		}
		if _, err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	found, damaged := before(t, filepath.Join(dir, segmentName(1)), 1, 31)
	if len(found) != 20 || damaged != 10 {
		t.Errorf("%d found, %d damaged", len(found), damaged)
	}
	for seq, got := range found {
		if seq%3 == 0 || got != string(body(int(seq))) {
			t.Errorf("reading %d is %q", seq, got)
		}
	}
}

func TestADowngradeReadsARecycledSegment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Limits{SegmentBytes: 8 << 10}, nil)
	add(t, s, 1, 1000)
	if err := s.Ack(1000); err != nil {
		t.Fatal(err)
	}
	add(t, s, 1001, 1300)
	if !slices.ContainsFunc(s.segs, func(g *segment) bool { return g.gap&recycled != 0 }) {
		t.Fatal("no segment is a recycled one")
	}
	all := map[uint64]string{}
	names := segments(snapshot(t, dir))
	for i, name := range names {
		base, _ := parseName(name)
		end := uint64(1301)
		if i+1 < len(names) {
			end, _ = parseName(names[i+1])
		}
		found, _ := before(t, filepath.Join(dir, name), base, end)
		for seq, b := range found {
			all[seq] = b
		}
	}
	for i := 1001; i <= 1300; i++ {
		if all[uint64(i)] != string(body(i)) {
			t.Errorf("reading %d is %q", i, all[uint64(i)])
		}
	}
}

func TestTheCursorOfTheReleaseBeforeIsHalfOfOurs(t *testing.T) {
	p := position{acked: 5, written: 9, dropped: 2, damaged: 3, expired: 4}
	b := slot{7, id{1}, p, more{reserved: 90}}.append(nil)
	got, ok := readSlot(b[:slotBytes]) // it reads no more than that
	if !ok || got.acked != 5 || got.written != 9 || got.dropped != 2 || got.damaged != 3 || got.generation != 7 {
		t.Errorf("%+v", got)
	}
	if len(b) != slotBytes+moreBytes {
		t.Errorf("%d bytes", len(b))
	}
}

func TestStaleFramesOfARecycledSegmentAreNeverTakenForNewOnes(t *testing.T) {
	dir := memory(t)
	l := Limits{SegmentBytes: 8 << 10}
	s := open(t, dir, l, nil)
	add(t, s, 1, 500)
	if err := s.Ack(500); err != nil {
		t.Fatal(err)
	}
	for i := 501; s.out.gap&recycled == 0; i++ {
		add(t, s, i, i)
	}
	from := int(s.out.base)
	last := int(s.next)
	add(t, s, last, last+20)
	last += 20
	path, end := s.out.path, s.out.end
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(whole)) < end+1000 {
		t.Fatal("there are no old frames behind the new ones")
	}
	_ = os.Remove(filepath.Join(dir, cursorName))
	check := func(when string, least int) {
		found, st := salvaged(t, dir, when)
		n := 0
		for i := from; i <= last; i++ {
			if found[uint64(i)] {
				n++
			}
		}
		if n < least || st.LastSeq > uint64(last) {
			t.Fatalf("%s: %d of %d found: %+v", when, n, last-from+1, st)
		}
		if lost := last - from + 1 - n; lost > 0 && st.Damaged == 0 && st.Torn == 0 {
			t.Fatalf("%s: %d lost, and nobody is told: %+v", when, lost, st)
		}
	}
	check("whole", last-from+1)
	for bit := int64(0); bit < end*8; bit += 5 {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprint("bit ", bit), last-from)
	}
}

// testdata/release2 was written by this release: 200 readings, each fourth of a type, of which 165 are acknowledged, some
// before they came to the medium, and number 180 is set aside.
func TestFault51TheNextReleaseReadsWhatThisOneWrote(t *testing.T) {
	dir := t.TempDir()
	restore(t, dir, snapshot(t, filepath.Join("testdata", "release2")))
	s := open(t, dir, Limits{}, nil)
	got := s.Peek(1000)
	st := s.Stats()
	if len(got) != 34 || st.Acked != 165 || st.LastSeq != 200 || st.Poisoned != 1 || st.Damaged != 0 || st.Torn != 0 {
		t.Fatalf("%d readings wait: %+v", len(got), st)
	}
	for _, r := range got {
		kind := ""
		if r.Seq%4 == 0 {
			kind = "application/cbor"
		}
		if !bytes.Equal(r.Body, body(int(r.Seq))) || r.Type != kind || r.Seq == 180 {
			t.Errorf("%d is %q of type %q", r.Seq, r.Body, r.Type)
		}
	}
}
