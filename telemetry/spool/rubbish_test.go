package spool

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestADamagedSegmentIsKeptAside(t *testing.T) {
	dir := memory(t)
	l := Limits{MaxBytes: 64 << 10, SegmentBytes: page}
	add(t, open(t, dir, l, nil), 1, 500)
	names := segments(snapshot(t, dir))
	rubbish := bytes.Repeat([]byte("rubbish!"), page/8)
	if err := os.WriteFile(filepath.Join(dir, names[0]), rubbish, 0o600); err != nil {
		t.Fatal(err)
	}
	second, _ := parseName(names[1])
	s := open(t, dir, l, nil)
	if got := s.Peek(1); len(got) != 1 || got[0].Seq != second {
		t.Fatalf("the first is %v", got)
	}
	if err := s.Ack(500); err != nil {
		t.Fatal(err)
	}
	files := snapshot(t, dir)
	if !bytes.Equal(files[names[0]+asideSuffix], rubbish) {
		t.Errorf("the damaged segment is gone: %v", slices.Collect(maps.Keys(files)))
	}
	for _, s := range []*Spool{s, open(t, dir, l, nil)} {
		if st := s.Stats(); st.Aside != 1 || st.Damaged != second-1 || st.Depth != 0 {
			t.Errorf("%+v", st)
		}
	}
	if n := len(segments(files)); n != 3 {
		t.Errorf("%d segments are left, want the newest and two to make others of", n)
	}
}

func TestANewestSegmentOfRubbishIsKeptAsideAndReplaced(t *testing.T) {
	dir := memory(t)
	add(t, open(t, dir, Limits{}, nil), 1, 10)
	add(t, open(t, dir, Limits{}, nil), 11, 20)
	path := filepath.Join(dir, segmentName(11))
	if err := os.WriteFile(path, []byte(strings.Repeat("rubbish!", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, Limits{}, nil)
	want(t, s, 1, 10)
	add(t, s, 11, 15)
	for _, s := range []*Spool{s, open(t, dir, Limits{}, nil)} {
		want(t, s, 1, 15)
		if st := s.Stats(); st.Aside != 1 {
			t.Errorf("%+v", st)
		}
	}
}

func TestAReadingInsideAReadingIsNeverDelivered(t *testing.T) {
	dir := memory(t)
	other := open(t, memory(t), Limits{}, nil)
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 1)
	forger := key{magic: s.key.magic, seed: other.key.seed} // the magic may be guessed
	forged := forger.appendFrame(nil, Record{Seq: 2, Stream: "s", Body: []byte("forged")})
	for range 3 {
		if _, err := s.Append(t.Context(), "s", forged); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, segmentName(1))
	b, _ := os.ReadFile(path)
	at := bytes.Index(b, forged)
	b[at-10] ^= 1 // the head of the frame around the first of them
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir, Limits{}, nil)
	got := again.Peek(10)
	if len(got) != 3 || got[1].Seq != 3 || again.Stats().Damaged != 1 {
		t.Fatalf("%d readings: %+v", len(got), again.Stats())
	}
	for _, r := range got {
		if string(r.Body) == "forged" {
			t.Error("a body was delivered as a reading")
		}
	}
}

// badPage is a medium that cannot read one page.
type badPage struct {
	*bytes.Reader
	from int64
}

func (p badPage) ReadAt(b []byte, off int64) (int, error) {
	if off < p.from+page && p.from < off+int64(len(b)) {
		n, _ := p.Reader.ReadAt(b[:max(0, p.from-off)], off)
		return n, syscall.EIO
	}
	return p.Reader.ReadAt(b, off)
}

func TestAPageThatCannotBeReadCostsOnlyItself(t *testing.T) {
	dir := memory(t)
	s := open(t, dir, Limits{}, nil)
	add(t, s, 1, 1000)
	b := snapshot(t, dir)[segmentName(1)][:s.out.end]
	for from := int64(0); from < int64(len(b)); from += page {
		sc := scanner{key: s.key, src: badPage{bytes.NewReader(b), from}, off: headSize, end: int64(len(b))}
		found := 0
		for next := uint64(1); ; found++ {
			r, ok := sc.next(next, 1001)
			if !ok {
				break
			}
			if !bytes.Equal(r.Body, body(int(r.Seq))) {
				t.Fatalf("page %d: reading %d came back as %q", from, r.Seq, r.Body)
			}
			next = r.Seq + 1
		}
		if lost := 1000 - found; lost > page/40 || lost == 0 {
			t.Errorf("page at %d: %d lost", from, lost)
		}
	}
}
