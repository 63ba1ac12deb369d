package attest_test

import (
	"os"
	"reflect"
	"testing"

	"github.com/devid-agent/devid-agent/attest"
)

// FuzzVerify: whatever a file holds, it is a verdict or an error, and without a challenge never a proof.
func FuzzVerify(f *testing.F) {
	seed, err := os.ReadFile("testdata/evidence.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	first, err := attest.Parse(seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(attest.CBOR(first))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := attest.Parse(b)
		if err != nil {
			return
		}
		if again, err := attest.Parse(attest.CBOR(e)); err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("by CBOR: %+v, %v", again, err)
		}
		v, err := attest.Verify(e, attest.Question{Nonce: e.Nonce})
		if v.Grade == attest.Proven || (err == nil) != v.OK {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

// TestEvidenceOfTheFirstFormatIsStillRead holds the format: the file was written by the release that introduced it.
func TestEvidenceOfTheFirstFormatIsStillRead(t *testing.T) {
	b, err := os.ReadFile("testdata/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	e, err := attest.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	wantGrade(t, e, attest.Question{Nonce: nonce}, attest.Unproven, "AK unproven")
}
