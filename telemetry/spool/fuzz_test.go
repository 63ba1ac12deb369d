package spool

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// FuzzScan feeds the reader of segments with any bytes. It must come to an end, deliver only whole frames, in
// order and within its bounds, and find every whole frame that stands behind the rubbish.
func FuzzScan(f *testing.F) {
	k := newKey(id{1, 2, 3, 4, 5, 6, 7, 8})
	var whole []byte
	for seq := range uint64(5) {
		whole = k.appendFrame(whole, Record{Seq: seq + 1, Time: time.Unix(0, 1), Stream: "s", Body: body(int(seq))})
	}
	f.Add([]byte{}, uint64(1), uint64(10))
	f.Add([]byte{1, 2, 3}, uint64(1), uint64(10))
	f.Add(whole, uint64(1), uint64(6))
	f.Add(whole, uint64(3), uint64(4))
	f.Add(whole[:len(whole)-1], uint64(1), uint64(6))
	f.Add(whole[20:], uint64(1), uint64(6))
	f.Add(append(bytes.Repeat(k.magic[:], 50), whole...), uint64(1), uint64(9))
	f.Add(make([]byte, 3*frameHead), uint64(0), uint64(9))
	f.Add(k.appendFrame(nil, Record{Seq: 3, Time: time.Unix(0, 1), Stream: "s", Type: "application/cbor", Body: body(3)}), uint64(1), uint64(9))
	huge := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(huge[24:], MaxBody|maxStream<<24)
	f.Add(huge, uint64(1), uint64(6))
	f.Fuzz(func(t *testing.T, rubbish []byte, low, high uint64) {
		after := Record{Seq: high - 1, Time: time.Unix(0, 7), Stream: "after", Body: []byte("the rubbish")}
		b := k.appendFrame(bytes.Clone(rubbish), after)
		sc := scanner{key: k, src: bytes.NewReader(b), end: int64(len(b))}
		found := false
		for next := low; ; {
			r, ok := sc.next(next, high)
			if !ok {
				break
			}
			if r.Seq < next || r.Seq >= high {
				t.Fatalf("reading %d outside [%d, %d)", r.Seq, next, high)
			}
			again := k.appendFrame(nil, r)
			if !bytes.Contains(b, again) {
				t.Fatalf("reading %d %q was never written", r.Seq, r.Body)
			}
			found = found || bytes.HasSuffix(b, again) && r.Seq == after.Seq
			next = r.Seq + 1
		}
		if low < high && !found && !holds(k, rubbish, after.Seq) {
			t.Fatal("the frame behind the rubbish was not found")
		}
	})
}

// holds reports whether a whole frame of that number is in b, which makes a later one of the same number stale.
func holds(k key, b []byte, seq uint64) bool {
	for i := range max(0, len(b)-frameHead) {
		if size, ok := k.measure(b[i:]); ok && i+size <= len(b) {
			if r, ok := k.decode(b[i:i+size], Record{}); ok && r.Seq == seq {
				return true
			}
		}
	}
	return false
}

// FuzzOpen puts any bytes where the spool keeps its files: it starts, and what it takes afterwards is kept.
func FuzzOpen(f *testing.F) {
	k := id{1, 2, 3, 4, 5, 6, 7, 8}
	segment := head{version, k, 1, 0}.append(nil)
	segment = newKey(k).appendFrame(segment, Record{Seq: 1, Time: time.Unix(0, 1), Stream: "s", Body: body(1)})
	cursor := slot{1, k, position{acked: 0, written: 2}, more{}}.append(nil)
	f.Add(segment, segment, cursor)
	f.Add([]byte{}, segment[:headHalf], cursor)
	again := head{version, k, 5, recycled | 3}.append(nil)
	f.Add(segment, append(again, segment[headSize:]...), slot{2, k, position{acked: 1, written: 2}, more{reserved: 500}}.append(nil))
	f.Add(segment, make([]byte, 200), slot{2, k, position{acked: 9, written: 2}, more{reserved: 1}}.append(nil))
	f.Add(segment[headHalf:], []byte("x"), []byte{})
	f.Add(segment[:headHalf], []byte{}, slot{9, k, position{acked: 7, written: 3, damaged: 1}, more{}}.append(nil))
	f.Fuzz(func(t *testing.T, first, second, cursor []byte) {
		dir := memory(t)
		restore(t, dir, map[string][]byte{segmentName(1): first, segmentName(5): second, cursorName: cursor})
		s, err := Open(dir, Limits{}, nil)
		if err != nil {
			return // a whole head of another format
		}
		waited := len(s.Peek(100))
		if st := s.Stats(); st.Depth != uint64(waited) {
			t.Fatalf("%d wait: %+v", waited, st)
		}
		seq, err := s.Append(t.Context(), "s", []byte("new"))
		if err != nil {
			t.Fatal(err)
		}
		again := open(t, dir, Limits{}, nil)
		got := again.Peek(100)
		if len(got) != waited+1 || got[waited].Seq != seq || string(got[waited].Body) != "new" {
			t.Fatalf("%d waited, %d is new, now %+v", waited, seq, again.Stats())
		}
		if err := again.Ack(seq); err != nil || again.Stats().Depth != 0 {
			t.Fatalf("%v %+v", err, again.Stats())
		}
	})
}
