package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// halves is what one side sends and what it has received.
type halves struct {
	io.Reader
	io.Writer
}

func frames(t testing.TB, all ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, v := range all {
		if err := Write(&b, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

type echo struct{}

func (echo) Handle(r Request) Answer { return Answer{Signature: r.Digest, Keys: []Key{r.Key}} }

func TestEachQuestionGetsItsAnswer(t *testing.T) {
	near, far := pipes()
	done := make(chan error, 1)
	go func() { done <- Serve(far, "test", echo{}) }()
	c, err := Greet(near)
	if err != nil {
		t.Fatal(err)
	}
	for _, digest := range []string{"a", "b", ""} {
		a, err := c.Call(Request{Op: Sign, Digest: []byte(digest), Key: Key{Label: "ü\x00", ID: []byte{0, 255}}}, nil)
		if err != nil || string(a.Signature) != digest || !reflect.DeepEqual(a.Keys[0].ID, []byte{0, 255}) {
			t.Errorf("%q: %+v, %v", digest, a, err)
		}
	}
	near.Writer.(io.Closer).Close()
	if err := <-done; err != nil {
		t.Errorf("hanging up is an error: %v", err)
	}
}

func pipes() (near, far halves) {
	toFar, fromNear := io.Pipe()
	toNear, fromFar := io.Pipe()
	return halves{toNear, fromNear}, halves{toFar, fromFar}
}

func TestAnotherVersionIsRefused(t *testing.T) {
	_, err := Greet(halves{bytes.NewReader(frames(t, Hello{Version: Version + 1, Program: "devid-pkcs11"})), io.Discard})
	if _, ok := errors.AsType[*VersionError](err); !ok {
		t.Errorf("greeting: %v", err)
	}
}

func TestAnAnswerOutOfTurnIsNotBelieved(t *testing.T) {
	c, err := Greet(halves{bytes.NewReader(frames(t, Hello{Version: Version}, Answer{ID: 7})), io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(Request{Op: Ping}, nil); !errors.Is(err, ErrLost) {
		t.Errorf("answer 7 to request 1: %v", err)
	}
}

func TestAFrameTooLongIsNeitherSentNorRead(t *testing.T) {
	if err := Write(io.Discard, Request{Digest: make([]byte, Limit)}); err == nil {
		t.Error("sent")
	}
	for _, n := range []uint32{0, Limit + 1, 1 << 31} {
		head := binary.BigEndian.AppendUint32(nil, n)
		if err := Read(io.MultiReader(bytes.NewReader(head), endless{}), &Answer{}); err == nil {
			t.Errorf("read a frame of %d bytes", n)
		}
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestAFrameCutOffIsNoHangingUp(t *testing.T) {
	whole := frames(t, Request{Op: Ping})
	for n := 1; n < len(whole); n++ {
		if err := Read(bytes.NewReader(whole[:n]), &Request{}); err == nil || err == io.EOF {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

// FuzzServe is what a helper reads from an agent gone mad: each whole question is answered under its number, and
// nothing else is said.
func FuzzServe(f *testing.F) {
	f.Add(frames(f, Request{ID: 1, Op: Open, Module: "/m.so"}, Request{ID: 2, Op: Sign, Digest: []byte{1}}))
	f.Add(frames(f, Request{ID: 1, Op: "?"})[:9])
	f.Add(frames(f, Request{ID: 3, Op: Sign, Hash: 5, PSS: true, Key: Key{Label: "ü", ID: []byte{0, 255}}, Digest: make([]byte, 32)}))
	f.Add([]byte("\x00\x00\x00\x0e\x01\x00\x00\x00\x00\x00\x00\x00\x01\x05\x02\x00\x00\x00"))     // PSS is neither yes nor no
	f.Add([]byte("\x00\x00\x00\x0f\x01\x00\x00\x00\x00\x00\x00\x00\x01\x05\x00\xff\xff\x00\x00")) // a label of 65535 bytes in a frame of 15
	f.Add([]byte("\x00\x00\x00\x01\x01\x00\x00\x00\x01\x02"))
	f.Add([]byte("\x00\x00\x00\x02{}\x00\x00\x00\x04null\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x0f{\"op\":[{\"a\":1}]"))
	f.Add([]byte(strings.Repeat("[", 3000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		_ = Serve(halves{bytes.NewReader(b), &out}, "fuzz", echo{})
		var hello Hello
		if err := Read(&out, &hello); err != nil || hello.Version != Version {
			t.Fatalf("hello %+v: %v", hello, err)
		}
		for in := bytes.NewReader(b); ; {
			var r Request
			var a Answer
			asked, answered := Read(in, &r), Read(&out, &a)
			if (asked == nil) != (answered == nil) || asked == nil && a.ID != r.ID {
				t.Fatalf("asked %+v (%v), answered %+v (%v)", r, asked, a, answered)
			}
			if asked != nil {
				return
			}
		}
	})
}

// FuzzCall is what an agent reads from a helper gone mad: an answer is believed only under the question's number.
func FuzzCall(f *testing.F) {
	f.Add(frames(f, Hello{Version: Version}, Answer{ID: 1, Signature: []byte{1}}, Answer{ID: 3}))
	f.Add(frames(f, Hello{Version: Version + 1}))
	f.Add(frames(f, Hello{Version: Version}, Answer{ID: 1, Signature: make([]byte, 512)}, Answer{ID: 2, Fault: &Fault{Code: 5}}))
	f.Add(append(frames(f, Hello{Version: Version}), "\x00\x00\x00\x01\x02\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00\x00\x00\x01"...))
	f.Add(append(frames(f, Hello{Version: Version}), "\x00\x00\x00\x0a\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00"...))
	f.Add(frames(f, Answer{ID: 1, Fault: &Fault{Code: 5, Doing: "sign"}}))
	f.Add([]byte("\x00\x00\x00\x0d{\"version\":2}\x00\x00\x00\x01{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Greet(halves{bytes.NewReader(b), io.Discard})
		for id := uint64(1); err == nil; id++ {
			var a Answer
			if a, err = c.Call(Request{Op: Ping}, nil); err == nil && a.ID != id {
				t.Fatalf("answer %d to question %d", a.ID, id)
			}
		}
	})
}
