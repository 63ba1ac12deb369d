package wire

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestWhatSigningAsksAndAnswersArrivesAsItWasSent(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	full := Request{ID: 1 << 63, Op: Sign, Hash: 7, PSS: true, Key: Key{Label: "ü\x00", ID: []byte{0, 255}}, Digest: []byte{1, 2}}
	odd := full
	odd.Module, odd.PIN, odd.Kind, odd.Bits, odd.Length = "/m.so", []byte("1"), "rsa", 2048, 3
	for _, want := range []Request{full, odd, {Op: Sign, Key: Key{Label: long}}, {Op: Sign, Hash: 256}, {Op: Ping},
		{Op: Sign, Key: Key{Attributes: []string{"CKA_SIGN"}}}} {
		var got Request
		if err := Read(bytes.NewReader(frames(t, want)), &got); err != nil || !same(got, want) {
			t.Errorf("sent %.200v, got %.200v, %v", want, got, err)
		}
	}
	for _, want := range []Answer{{ID: 3, Signature: []byte{0}}, {ID: 3}, {ID: 3, Signature: []byte{0}, Exported: true},
		{ID: 3, Signature: []byte{0}, Fault: &Fault{Code: 5}}} {
		var got Answer
		if err := Read(bytes.NewReader(frames(t, want)), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("sent %+v, got %+v, %v", want, got, err)
		}
	}
}

// same does not tell an empty list from none.
func same(a, b Request) bool {
	equal := bytes.Equal(a.Key.ID, b.Key.ID) && bytes.Equal(a.Digest, b.Digest)
	a.Key.ID, a.Digest, b.Key.ID, b.Digest = nil, nil, nil, nil
	return equal && reflect.DeepEqual(a, b)
}

func TestASignatureTravelsWithoutJSON(t *testing.T) {
	for _, v := range []any{Request{Op: Sign, Key: Key{Label: "k"}, Digest: make([]byte, 32)}, Answer{Signature: make([]byte, 70)}} {
		if n := len(frames(t, v)); n > 4+15+70 {
			t.Errorf("%T takes %d bytes", v, n)
		}
	}
}

func TestAQuestionIsAnsweredWhileTheAskerIsBusy(t *testing.T) {
	near, far := pipes()
	go func() { _ = Serve(far, "test", echo{}) }()
	c, err := Greet(near)
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	a, err := c.Call(Request{Op: Sign, Digest: []byte("a")}, func() { did = append(did, "asked") })
	if err != nil || string(a.Signature) != "a" || len(did) != 1 {
		t.Errorf("%+v, %v; meanwhile %q", a, err, did)
	}
}
