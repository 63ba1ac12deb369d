package main

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAReadingIsFoundWholeInWhateverItIsPacked(t *testing.T) {
	one, two := reading(nil, 7), reading(nil, 123_456_789)
	if len(one) != size || len(two) != size {
		t.Fatalf("readings of %d and %d bytes", len(one), len(two))
	}
	damaged := bytes.Clone(two)
	damaged[size-10] ^= 1
	for _, c := range []struct {
		payload []byte
		whole   []bool
	}{
		{one, []bool{true}},
		{bytes.Join([][]byte{[]byte(`[{"body":`), one, []byte(`},`), two, []byte(`]`)}, nil), []bool{true, true}},
		{bytes.Join([][]byte{{0x9f, 0x58, 200}, damaged, {0x58, 200}, one, {0xff}}, nil), []bool{false, true}},
		{one[:size-1], []bool{false}},
		{[]byte(`{"load":0.2}`), nil},
	} {
		var got []bool
		scan(c.payload, func(_ int, whole bool) { got = append(got, whole) })
		if len(got) != len(c.whole) {
			t.Errorf("%q: found %v", c.payload, got)
			continue
		}
		for i := range got {
			if got[i] != c.whole[i] {
				t.Errorf("%q: reading %d whole: %v", c.payload, i, got[i])
			}
		}
	}
}

func TestTheCounterTellsLostFromRepeatedFromWrong(t *testing.T) {
	c := &counter{}
	c.expect(100, 4)
	now := time.Now()
	wrong := bytes.Clone(reading(nil, 102))
	wrong[50] ^= 4
	for i, payload := range [][]byte{reading(nil, 100), reading(nil, 101), reading(nil, 100), wrong, reading(nil, 999)} {
		c.message(now.Add(time.Duration(i*i)*time.Second), nil, payload)
	}
	got := c.now()
	if got.unique != 2 || got.repeated != 1 || got.wrong != 1 || got.stray != 1 || got.messages != 5 {
		t.Errorf("%+v", got)
	}
	if got.gap != 7*time.Second {
		t.Errorf("longest silence %v", got.gap)
	}
	if n := c.missing([]int{100, 101, 102, 103, 99}); n != 3 {
		t.Errorf("%d are missing", n)
	}
}

func TestPacketsAreReadAsTheyWereWritten(t *testing.T) {
	payload := reading(nil, 5)
	wire := appendPublish(appendConnect(nil, "somebody"), "devices/a/b", 9, payload)
	r := bufio.NewReader(bytes.NewReader(wire))
	if p, err := readPacket(r, nil); err != nil || p.kind != packConnect {
		t.Fatalf("%x, %v", p.kind, err)
	}
	p, err := readPacket(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	topic, got, err := p.payload()
	if err != nil || string(topic) != "devices/a/b" || !bytes.Equal(got, payload) {
		t.Errorf("%q %q %v", topic, got, err)
	}
	if _, err := readPacket(r, nil); !errors.Is(err, io.EOF) {
		t.Errorf("behind the last packet: %v", err)
	}
}

func FuzzPacketsOfABrokerInAnyStateAreNoPanic(f *testing.F) {
	f.Add(appendPublish(nil, "t", 1, []byte("body")))
	f.Add([]byte{packPublish, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{packPublish | 2, 3, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bufio.NewReader(bytes.NewReader(wire))
		for {
			p, err := readPacket(r, nil)
			if err != nil {
				return
			}
			if _, payload, err := p.payload(); err == nil {
				scan(payload, func(int, bool) {})
			}
		}
	})
}

func TestARunRenewsItsTableAndNothingElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(file, []byte("# Before\n"+markBegin+"old\n"+markEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var r results
	r.judge(verdict{Row: "crash", What: "lost", Measured: "0", Goal: "0", Met: true})
	r.judge(verdict{Row: "flip", What: "lost", Measured: "2", Goal: "≤ 1"})
	for range 2 {
		if err := renew(file, []string{"machine: a desk"}, r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "# Before\n") || !strings.HasSuffix(got, "after\n") || strings.Contains(got, "old") ||
		strings.Count(got, "machine: a desk") != 1 || !strings.Contains(got, "| 0 | met |") || !strings.Contains(got, "| ≤ 1 | missed |") {
		t.Error(got)
	}
	if _, err := replace("a document of somebody else", "x"); err == nil {
		t.Error("a document without marks was changed")
	}
}

func TestPlotsAreWholeXMLWhateverTheirValues(t *testing.T) {
	bars := plot{file: "a", title: `more & "less"`, unit: " <B>"}
	bars.add("ours", "", 12345)
	bars.add("nobody", "", 0)
	bars.add("unknown", "", math.NaN())
	lines := plot{file: "b", title: "memory", lines: []line{{"taken in", []point{{0, 1}, {time.Second, 17.5}}}, {"sent", nil}}}
	dir := t.TempDir()
	if err := writePlots(dir, []plot{bars, lines, {file: "c", lines: []line{{}}}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(bytes.NewReader(text))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if strings.Contains(string(text), "NaN") || strings.Contains(string(text), "Inf") {
			t.Errorf("%s has a coordinate that is no number: %s", name, text)
		}
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for n, want := range map[float64]string{0.5: "0.50", 9.999: "10.0", 42.25: "42.2", 100: "100", 999.7: "1,000", 1234567: "1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%v is written %s", n, got)
		}
	}
	if m := median([]float64{9, 1, 4}); m != 4 {
		t.Errorf("median %v", m)
	}
}
