package iothub

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// unpacked is an element of a pack as a receiver sees it.
type unpacked struct {
	T    int64           `json:"t"`
	N    uint64          `json:"n"`
	Type string          `json:"type"`
	Body json.RawMessage `json:"v"`
}

func TestAPackKeepsTimeNumberAndBodyOfEachReading(t *testing.T) {
	all := records(5)
	all[1].Type, all[1].Body = "text/plain", []byte("21,5 °C\x00")
	all[2].Body = []byte(`{"not": "JSON`)
	all[3].Body = []byte("  [1, 2]\n")
	all[4].Body = []byte("\"\xff\"") // JSON to Go, not to those who look at the encoding first
	var p packer
	m := p.pack(telemetry.Pack{Bytes: 4096}, all, 4096)
	var got []unpacked
	if err := json.Unmarshal(m.body, &got); err != nil || m.n != 5 || len(got) != 5 || m.kind != "application/json" {
		t.Fatalf("%d of 5, %v: %s", m.n, err, m.body)
	}
	for i, r := range all {
		if got[i].T != r.Time.UnixMilli() || got[i].N != r.Seq-all[0].Seq {
			t.Errorf("reading %d is %v %d", i, got[i].T, got[i].N)
		}
		body := []byte(got[i].Body)
		if got[i].Type != "" {
			var text string
			_ = json.Unmarshal(body, &text)
			body, _ = base64.StdEncoding.DecodeString(text)
		}
		if !bytes.Equal(body, bytes.TrimSpace(r.Body)) {
			t.Errorf("reading %d is %q, was %q", i, body, r.Body)
		}
	}
}

func TestAPackStaysWithinItsBytesAndItsStream(t *testing.T) {
	all := records(200)
	for i := 150; i < 200; i++ {
		all[i].Stream = "another"
	}
	for _, format := range []string{"json", "cbor"} {
		var p packer
		for left, messages := all, 0; len(left) > 0; messages++ {
			m := p.pack(telemetry.Pack{Bytes: 1024, Format: format}, left, 1024)
			if len(m.body) > 1024 || m.n == 0 || left[0].Stream != left[m.n-1].Stream {
				t.Fatalf("%s: %d readings in %d bytes", format, m.n, len(m.body))
			}
			if m.n < len(left) && left[m.n].Stream == left[0].Stream {
				if more := p.pack(telemetry.Pack{Format: format}, left[:m.n+1], 1<<20); len(more.body) <= 1024 {
					t.Errorf("%s: one more would have fitted into 1024: %d", format, len(more.body))
				}
			}
			left = left[m.n:]
		}
	}
	var p packer
	all[0].Body = []byte(`"` + strings.Repeat("x", 5000) + `"`)
	if m := p.pack(telemetry.Pack{Bytes: 1024}, all, 1024); m.n != 1 {
		t.Errorf("a reading larger than a pack goes with %d others", m.n-1)
	}
}

// decode reads one CBOR item, as far as packs have them.
func decode(t *testing.T, b []byte) (item any, rest []byte) {
	t.Helper()
	major, n, b := b[0]>>5, uint64(b[0]&31), b[1:]
	switch {
	case major == 7 && n == 27:
		return math.Float64frombits(binary.BigEndian.Uint64(b)), b[8:]
	case n == 24:
		n, b = uint64(b[0]), b[1:]
	case n == 25:
		n, b = uint64(binary.BigEndian.Uint16(b)), b[2:]
	case n == 26:
		n, b = uint64(binary.BigEndian.Uint32(b)), b[4:]
	case n == 27:
		n, b = binary.BigEndian.Uint64(b), b[8:]
	}
	switch major {
	case 0:
		return n, b
	case 2:
		return b[:n], b[n:]
	case 3:
		return string(b[:n]), b[n:]
	case 4:
		var all []any
		for range n {
			item, b = decode(t, b)
			all = append(all, item)
		}
		return all, b
	case 5:
		all := map[string]any{}
		for range n {
			var k any
			k, b = decode(t, b)
			all[k.(string)], b = decode(t, b)
		}
		return all, b
	case 6:
		item, b = decode(t, b)
		return [2]any{n, item}, b
	}
	t.Fatalf("major type %d", major)
	return nil, nil
}

func TestAPackInCBORIsReadByTheRulesOfRFC8949(t *testing.T) {
	all := records(300)
	all[7].Type, all[7].Body = "application/octet-stream", []byte{0, 1, 2}
	all[8].Type, all[8].Body = "application/cbor", []byte{0xa1, 0x61, 'x', 1}
	all[9].Seq = 1 << 40
	var p packer
	m := p.pack(telemetry.Pack{Format: "cbor"}, all, 1<<20)
	item, rest := decode(t, m.body)
	got := item.([]any)
	if len(rest) != 0 || len(got) != 300 || m.kind != "application/cbor" {
		t.Fatalf("%d readings, %d bytes behind them", len(got), len(rest))
	}
	for i, r := range all {
		e := got[i].(map[string]any)
		tag := e["t"].([2]any)
		if ms := math.Round(tag[1].(float64) * 1000); tag[0].(uint64) != 1 || int64(ms) != r.Time.UnixMilli() || e["n"] != r.Seq-all[0].Seq {
			t.Errorf("reading %d: %v", i, e)
		}
		var want any = string(r.Body)
		switch r.Type {
		case "application/cbor":
			want = [2]any{uint64(24), r.Body}
		case "application/octet-stream":
			want = r.Body
		}
		if fmt.Sprint(e["v"]) != fmt.Sprint(want) || (e["type"] != nil) != (i == 7) {
			t.Errorf("reading %d: %v, want %v", i, e, want)
		}
	}
}

func TestAGzippedPackUnpacksAndSaysThatItIsOne(t *testing.T) {
	var p packer
	for range 3 {
		m := p.pack(telemetry.Pack{Bytes: 4096, Gzip: true}, records(50), 4096)
		in, err := gzip.NewReader(bytes.NewReader(m.body))
		if err != nil || m.encoding != "gzip" {
			t.Fatalf("%q: %v", m.encoding, err)
		}
		plain, err := io.ReadAll(in)
		if err != nil || !json.Valid(plain) || len(plain) < 2*len(m.body) {
			t.Errorf("%d bytes of %d: %v", len(m.body), len(plain), err)
		}
	}
	one := p.pack(telemetry.Pack{Bytes: 100, Gzip: true}, records(1), 100)
	if one.encoding != "" || !json.Valid(one.body) {
		t.Errorf("a pack that does not get shorter comes as %q %q", one.encoding, one.body)
	}
}

func FuzzAPackOfAnythingCanBeRead(f *testing.F) {
	f.Add([]byte(`{"a":1}`), "", "s", uint64(1))
	f.Add([]byte("\xff\xfe"), "text/plain; charset=\"x\"", "s", uint64(1<<63))
	f.Fuzz(func(t *testing.T, body []byte, kind, stream string, seq uint64) {
		r := spool.Record{Seq: seq, Time: time.Unix(1, 0), Stream: stream, Type: kind, Body: body}
		var p packer
		var got []unpacked
		if err := json.Unmarshal(p.pack(telemetry.Pack{}, []spool.Record{r, r}, 1<<20).body, &got); err != nil || len(got) != 2 || got[1].N != 0 {
			t.Errorf("%v", err)
		}
		if item, rest := decode(t, p.pack(telemetry.Pack{Format: "cbor"}, []spool.Record{r, r}, 1<<20).body); len(rest) != 0 || len(item.([]any)) != 2 {
			t.Errorf("%v", item)
		}
	})
}

func TestPropertiesAreThoseThatTheHubKnows(t *testing.T) {
	c := &Conn{config: Config{SpoolID: "spool"}, address: "devices/d"}
	r := spool.Record{Seq: 7, Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Stream: "my stream/ü"}
	mid := "devices/d/messages/events/%24.mid=spool-7-dhvavgoiv2io"
	for _, want := range []struct {
		kind string
		m    message
		tail string
	}{
		{"", message{n: 1}, "&%24.ct=application%2Fjson&%24.ce=utf-8&%24.ctime=2026-01-02T03%3A04%3A05.006Z&stream=my%20stream%2F%C3%BC&seq=7"},
		{"application/cbor", message{n: 1}, "&%24.ct=application%2Fcbor&%24.ctime=2026-01-02T03%3A04%3A05.006Z&stream=my%20stream%2F%C3%BC&seq=7"},
		{"text/plain", message{n: 20, packed: true, kind: typeCBOR, encoding: "gzip"}, "-20&%24.ct=application%2Fcbor&%24.ce=gzip&%24.ctime=2026-01-02T03%3A04%3A05.006Z&stream=my%20stream%2F%C3%BC&seq=7&count=20"},
	} {
		r.Type = want.kind
		got := c.topic("spool", r, want.m)
		if _, tail, _ := strings.Cut(got, "%24.mid=spool-7-"); !strings.HasPrefix(got, mid[:len(mid)-12]) || !strings.HasSuffix(tail, want.tail) {
			t.Errorf("got  %s\nwant …%s", got, want.tail)
		}
	}
}

func TestAPackArrivesAsOneMessageAndIsRepeatedAsTheSame(t *testing.T) {
	inWorld(t, sim.Temper{LostAck: 3}, func(w *world) {
		q := newShelf(200)
		w.pump(telemetry.Lane{ID: "lane", Queue: q, Pack: telemetry.Pack{Bytes: 4096, Age: time.Second}}, time.Minute)
		seen := map[string]string{}
		readings := map[uint64]bool{}
		repeats := 0
		for _, m := range w.cloud.Received(device) {
			var got []unpacked
			if err := json.Unmarshal(m.Body, &got); err != nil || fmt.Sprint(len(got)) != m.Properties["count"] || len(m.Body) > 4096 {
				w.Fatalf("%v %s", err, m.Properties)
			}
			mid := m.Properties["$.mid"]
			if before, ok := seen[mid]; ok {
				if repeats++; before != string(m.Body) {
					w.Errorf("%s came with another body", mid)
				}
			}
			seen[mid] = string(m.Body)
			first, _ := strconv.ParseUint(m.Properties["seq"], 10, 64)
			for _, r := range got {
				readings[first+r.N] = true
			}
		}
		if len(readings) != 200 || q.left() != 0 || repeats == 0 || len(seen) > 8 {
			w.Errorf("%d of 200 arrived in %d messages, %d wait, %d repeats", len(readings), len(seen), q.left(), repeats)
		}
	})
}
