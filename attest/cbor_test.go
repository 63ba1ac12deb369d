package attest_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/keys"
)

// The items of an answer as RFC 8949 writes them: {"secret": h'0203', "ak_name": h'01', "version": 1}.
const (
	answerMap = "a3"
	secret    = "66" + "736563726574" + "42" + "0203"
	akName    = "67" + "616b5f6e616d65" + "41" + "01"
	version   = "67" + "76657273696f6e" + "01"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCBORIsTheDeterministicFormOfTheRFC(t *testing.T) {
	a := keys.Answer{Version: 1, AKName: []byte{1}, Secret: []byte{2, 3}}
	want := unhex(t, answerMap+secret+akName+version)
	if got := attest.CBOR(a); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got, err := attest.ParseAnswer(want); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEveryFileIsTheSameInJSONAndCBOR(t *testing.T) {
	b, err := os.ReadFile("testdata/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	e, err := attest.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	same(t, e, attest.Parse)
	same(t, reported(t, keys.ECDSAP256, nil), attest.Parse)
	same(t, keys.Challenge{Version: 1, AKName: []byte{1}, EK: make([]byte, 300), Credential: make([]byte, 24), Seed: make([]byte, 70000)}, attest.ParseChallenge)
	same(t, attest.Secret{Version: 1, AKName: []byte{1}, EK: []byte{2}, Secret: []byte{3}}, attest.ParseSecret)
	if n := len(attest.CBOR(e)); n*4 > len(b)*3 {
		t.Errorf("%d bytes of CBOR for %d of JSON", n, len(b))
	}
}

func same[F attest.File](t *testing.T, f F, parse func([]byte) (F, error)) {
	t.Helper()
	for _, b := range [][]byte{encode(t, f), attest.CBOR(f)} {
		if got, err := parse(b); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v, want %+v: %v", got, f, err)
		}
	}
}

func TestCBORInAnyOtherFormIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, why string }{
		"keys in another order":     {answerMap + akName + secret + version, "deterministic"},
		"a key twice":               {"a4" + secret + akName + akName + version, "deterministic"},
		"a field that is missing":   {"a2" + secret + version, "deterministic"},
		"a longer head":             {"b803" + secret + akName + version, "deterministic"},
		"a number in two bytes":     {answerMap + secret + akName + version[:len(version)-2] + "1801", "deterministic"},
		"text instead of bytes":     {answerMap + strings.Replace(secret, "420203", "64"+hex.EncodeToString([]byte("AgM=")), 1) + akName + version, "deterministic"},
		"something after its end":   {answerMap + secret + akName + version + "00", "deterministic"},
		"a field that nobody knows": {"a4" + "6161" + "01" + secret + akName + version, "unknown field"},
		"a later format":            {"a4" + "6161" + "01" + secret + akName + version[:len(version)-2] + "02", "written in format 2"},
		"a map without an end":      {"bf" + secret + akName + version + "ff", "of a kind that we do not write"},
		"a tag":                     {answerMap + strings.Replace(secret, "42", "c242", 1) + akName + version, "of a kind that we do not write"},
		"a key that is no text":     {answerMap + "0101" + akName + version, "of a kind that we do not write"},
		"text that is not UTF-8":    {answerMap + "61ff" + "01" + akName + version, "of a kind that we do not write"},
		"a lie about a length":      {answerMap + "66" + "736563726574" + "5affffffff", "ends in the middle"},
		"a lie about a number":      {"baffffffff" + secret, "ends in the middle"},
		"arrays without end":        {"a1" + "6161" + strings.Repeat("81", 100000), "deeper"},
	} {
		if _, err := attest.ParseAnswer(unhex(t, c.file)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
	}
	if _, err := attest.Parse(append([]byte{0xa1}, make([]byte, 256<<10)...)); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a long file: %v", err)
	}
}
