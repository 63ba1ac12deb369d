package sim

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzReadPacket: whatever arrives, it is a packet within the limit or an error.
func FuzzReadPacket(f *testing.F) {
	for _, seed := range [][]byte{
		{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'd', '1'},
		{0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xc6, 0, 60, 0, 1, 'd', 0, 1, 't', 0, 0, 0, 1, 'u', 0},
		{0x10, 12, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 60},
		{0x32, 6, 0, 1, 't', 0, 1, 'x'},
		{0x40, 2, 0, 1},
		{0x82, 8, 0, 1, 0, 3, 'a', '/', '#', 1},
		{0xa2, 5, 0, 1, 0, 1, '+'},
		{0xc0, 0}, {0xe0, 0}, {0x30, 0xff, 0xff, 0xff, 0xff, 1}, {0x30, 0x80}, {},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := readPacket(bytes.NewReader(data), 1<<16)
		if (p == nil) == (err == nil) && !errors.Is(err, errMalformed) {
			t.Fatalf("%+v, %v", p, err)
		}
		out, ok := p.(*publish)
		if !ok || err != nil {
			return
		}
		again, err := readPacket(iotest.OneByteReader(bytes.NewReader(withRetain(out))), 1<<20)
		if back, ok := again.(*publish); err != nil || !ok || back.topic != out.topic || back.id != out.id || back.qos != out.qos || !bytes.Equal(back.payload, out.payload) {
			t.Fatalf("%+v came back as %+v, %v", out, again, err)
		}
	})
}

func withRetain(p *publish) []byte {
	b := p.encode()
	if p.retain {
		b[0] |= 1
	}
	return b
}

// FuzzTopics: parsers of what a device writes into user names, topics and bodies end with an answer.
func FuzzTopics(f *testing.F) {
	f.Add("0ne/registrations/d/api-version=2025-07-01-preview&ClientVersion=a%2Fb")
	f.Add("hub.net/d/?api-version=2021-04-12&model-id=dtmi:a;1")
	f.Add("%24.mid=id%201&a%20b=c%26d%3De&k&e=")
	f.Add(`{"id":"d","csr":"AAAA","replace":"*"}`)
	f.Fuzz(func(t *testing.T, s string) {
		if _, _, v, err := parseDPSUsername(s); err == nil && !versionForm.MatchString(string(v)) {
			t.Errorf("version %q", v)
		}
		if hub, device, _, err := parseHubUsername(s); err == nil && (hub == "" || device == "") {
			t.Errorf("%q %q", hub, device)
		}
		if bag, err := parseBag(s); err == nil && s != "" && len(bag) == 0 {
			t.Errorf("bag of %q is empty", s)
		}
		if r, no := parseIssue([]byte(s), "d"); no == nil && (r.ID != "d" || len(r.CSR) == 0) {
			t.Errorf("request %+v", r)
		}
	})
}

func TestFiltersMatchAsMQTTSays(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/#", "a/b/c", true}, {"a/#", "a", true}, {"a/+/c", "a/b/c", true}, {"a/+", "a/b/c", false},
		{"a/b", "a/b", true}, {"a/b", "a/b/c", false}, {"a/b/c", "a/b", false}, {"a/+", "a/", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%s on %s: %v", c.filter, c.topic, got)
		}
	}
}

func TestPipeHoldsWhatASocketHolds(t *testing.T) {
	near, far := newPipe("a", "b")
	if _, err := near.Write(make([]byte, streamRoom)); err != nil {
		t.Fatal(err)
	}
	near.Close()
	if b, err := io.ReadAll(far); err != nil || len(b) != streamRoom {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := far.Write([]byte("x")); err == nil {
		t.Error("wrote to an end that is closed")
	}
}
