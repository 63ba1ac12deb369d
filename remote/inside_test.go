package remote

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// fixed is a session with one document.
type fixed struct {
	document []byte
	reported [][]byte
}

func (f *fixed) Twin(context.Context) ([]byte, error) { return f.document, nil }
func (f *fixed) Done() <-chan struct{}                { return nil }
func (f *fixed) Report(_ context.Context, patch []byte) (int64, error) {
	f.reported = append(f.reported, patch)
	return 1, nil
}

// ReadTwin reads a document as an agent does.
func ReadTwin(document []byte) error {
	return New(Config{}).read(context.Background(), &fixed{document: document})
}

// Judge lets an agent read a document and a change, and checks what it reports.
func Judge(t *testing.T, document, change []byte) {
	s := &fixed{document: document}
	r := New(Config{Change: []string{"log"}, Settings: []Setting{{Path: "log.level", Apply: func(any) error { return nil }}}})
	defer r.desired.stop()
	if r.read(t.Context(), s) != nil {
		return
	}
	r.patch(patch{r.desired.version + 1, change})
	have := r.known
	if err := r.report(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, b := range s.reported {
		var p map[string]map[string]any
		if err := json.Unmarshal(b, &p); err != nil || len(b) > 32<<10 {
			t.Fatalf("reported %s: %v", b, err)
		}
		if got := merged(have, p["devid-agent"]); !same(got, r.known) {
			t.Errorf("the twin has %v, the agent believes %v", got, r.known)
		}
	}
}

func FuzzTheDifferenceMakesOneOfTheOther(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":2,"d":[1]}}`), []byte(`{"b":{"c":3},"e":{"f":{}}}`))
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":2}`))
	f.Add([]byte(`{"a":2}`), []byte(`{"a":{"b":{}}}`))
	f.Fuzz(func(t *testing.T, one, other []byte) {
		have, errHave := parseObject(one)
		want, errWant := parseObject(other)
		if errHave != nil || errWant != nil {
			return
		}
		have, want = merged(nil, have), merged(nil, want) // a twin has no null
		change := difference(have, want)
		if got := merged(have, change); !same(got, want) {
			t.Errorf("%v and %v make %v, not %v", have, change, got, want)
		}
		if change == nil != same(have, want) {
			t.Errorf("a change %v from %v to %v", change, have, want)
		}
	})
}

// A document that is cut, or is more than a twin can be, is no word of the hub's that all settings go back.
func TestATwinThatIsNoneChangesNothing(t *testing.T) {
	long := `{"desired":{"$version":2,"x":{"a":"` + strings.Repeat("x", maxDocument) + `"}},"reported":{"$version":1}}`
	for _, document := range []string{"", "null", "[]", `{"desired":{}}`, `{"desired":{"$version":"2"}}`, long[:1000], long} {
		if _, err := parseTwin([]byte(document), "x"); !errors.Is(err, errDocument) {
			t.Errorf("%.40s: %v", document, err)
		}
	}
}
