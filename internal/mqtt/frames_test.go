package mqtt

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

// heard is a connection that says text and notes what is written.
type heard struct {
	net.Conn
	in   io.Reader
	said bytes.Buffer
}

func (h *heard) Read(p []byte) (int, error)  { return h.in.Read(p) }
func (h *heard) Write(p []byte) (int, error) { return h.said.Write(p) }

func framed(text string) (*frames, *heard) {
	h := &heard{in: strings.NewReader(text)}
	return &frames{Conn: h, in: bufio.NewReader(h)}, h
}

func TestFramesOfAServerAreReadAsOneStream(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	for name, s := range map[string]struct{ said, want, words string }{
		"one":                      {"\x82\x03abc", "abc", "EOF"},
		"in parts":                 {"\x02\x01a\x00\x01b\x80\x01c", "abc", "EOF"},
		"empty ones":               {"\x82\x00\x02\x00\x80\x01a", "a", "EOF"},
		"16 bits":                  {"\x82\x7e\x00\x02ab", "ab", "EOF"},
		"64 bits":                  {"\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x70" + long, long, "EOF"},
		"a ping amid the parts":    {"\x02\x01a\x89\x02hi\x80\x01b", "ab", "EOF"},
		"a pong":                   {"\x8a\x00\x82\x01a", "a", "EOF"},
		"a close":                  {"\x82\x01a\x88\x09\x03\xe9restart", "a", `1001 "restart"`},
		"a close without a word":   {"\x88\x00", "", "closes"},
		"text":                     {"\x81\x01a", "", "not binary"},
		"a part without beginning": {"\x80\x01a", "", "not binary"},
		"a beginning amid parts":   {"\x02\x01a\x82\x01b", "a", "not binary"},
		"masked":                   {"\x82\x81\x00\x00\x00\x00a", "", "mean nothing"},
		"compressed":               {"\xc2\x01a", "", "mean nothing"},
		"a ping in parts":          {"\x09\x00", "", "in parts"},
		"a long ping":              {"\x89\x7e\x00\x7e", "", "too long"},
		"cut in its head":          {"\x82", "", "EOF"},
		"cut in its length":        {"\x82\x7e\x00", "", "EOF"},
	} {
		f, _ := framed(s.said)
		got := new(strings.Builder)
		_, err := io.Copy(got, readerOnly{f})
		if err == nil {
			err = io.EOF
		}
		if got.String() != s.want || !strings.Contains(err.Error(), s.words) {
			t.Errorf("%s: %d bytes, %v", name, got.Len(), err)
		}
	}
}

type readerOnly struct{ io.Reader }

func TestPingIsAnsweredWithItsOwnWords(t *testing.T) {
	f, h := framed("\x89\x02hi\x82\x01a")
	if _, err := f.Read(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	pong := h.said.Bytes()
	if len(pong) != 8 || pong[0] != final|10 || pong[1] != masked|2 || pong[6]^pong[2] != 'h' || pong[7]^pong[3] != 'i' {
		t.Errorf("%x", pong)
	}
}

func TestWhatLeavesIsMaskedAnewEachTime(t *testing.T) {
	f, h := framed("")
	zeros := append([]byte{publish << 4, 100}, make([]byte, 100)...)
	if _, err := f.Write(append(bytes.Clone(zeros), zeros...)); err != nil {
		t.Fatal(err)
	}
	const frame = 2 + 4 + 102
	said := h.said.Bytes()
	if len(said) != 2*frame || bytes.Equal(said[2:6], said[frame+2:frame+6]) || bytes.Count(said, []byte{0, 0, 0}) > 0 {
		t.Errorf("%x", said)
	}
}

// FuzzFrames lets a server send anything in an open WebSocket: nothing panics, and reading comes to an end.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x82\x03abc\x89\x02hi\x88\x02\x03\xe8"))
	f.Add([]byte("\x02\x7e\x00\x01a\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xffb"))
	f.Fuzz(func(t *testing.T, said []byte) {
		socket, _ := framed(string(said))
		n, _ := io.Copy(io.Discard, readerOnly{socket})
		if n > int64(len(said)) {
			t.Errorf("%d bytes out of %d", n, len(said))
		}
	})
}
