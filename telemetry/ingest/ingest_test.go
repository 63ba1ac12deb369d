package ingest

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestReadingIsPromisedWithItsNumber(t *testing.T) {
	spool := &shelf{}
	w := serve(t, &Server{Spool: spool})
	for i, stream := range []string{"boiler", "a.b-c_D9"} {
		if got := w.post(t, stream, `{"celsius": 21.5}`); got.status != 200 || got.Seq != uint64(i+1) {
			t.Errorf("%s: %+v", stream, got)
		}
	}
	if got := fmt.Sprint(spool.all()); got != `[boiler {"celsius": 21.5} a.b-c_D9 {"celsius": 21.5}]` {
		t.Errorf("the spool has %s", got)
	}
	if w.Readings() != (Readings{Taken: 2}) {
		t.Errorf("counted %+v", w.Readings())
	}
}

func TestPromiseIsGivenOnlyAfterTheMediumHasIt(t *testing.T) {
	spool := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := serve(t, &Server{Spool: spool})
	answered := make(chan reply, 1)
	go func() { answered <- w.post(t, "boiler", "1") }()
	<-spool.enter
	select {
	case got := <-answered:
		t.Fatalf("answered %+v before Put returned", got)
	case <-time.After(50 * time.Millisecond): // a proof of absence cannot wait for an event
	}
	close(spool.door)
	if got := <-answered; got.status != 200 {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsNoReadingIsRefusedInWords(t *testing.T) {
	spool := &shelf{}
	w := serve(t, &Server{Spool: spool, MaxBody: 64})
	long := strings.Repeat("x", 65)
	for _, test := range []struct {
		method, path, kind, body string
		status                   int
		words                    string
	}{
		{"POST", "/v1/telemetry/boiler", "", "1", 415, "application/json"},
		{"POST", "/v1/telemetry/boiler", "application/x-www-form-urlencoded", "1", 415, "application/json"},
		{"POST", "/v1/telemetry/boiler", "application/json; charset=latin1", "1", 415, "UTF-8"},
		{"POST", "/v1/telemetry/boiler", "application/json; charset=utf-8", "1", 200, ""},
		{"POST", "/v1/telemetry/boiler", "application/json", "{oops", 400, "byte 2"},
		{"POST", "/v1/telemetry/boiler", "application/json", "", 400, "not JSON"},
		{"POST", "/v1/telemetry/boiler", "application/json", "1 2", 400, "one JSON value"},
		{"POST", "/v1/telemetry/boiler", "application/json", `"` + long + `"`, 413, "at most 64 bytes"},
		{"POST", "/v1/telemetry/" + long, "application/json", "1", 400, "1 to 64"},
		{"POST", "/v1/telemetry/b%2Fc", "application/json", "1", 400, "no name of a stream"},
		{"POST", "/v1/telemetry/%C3%A9", "application/json", "1", 400, "no name of a stream"},
		{"POST", "/v1/telemetry/", "application/json", "1", 404, "POST /v1/telemetry/{stream}"},
		{"POST", "/telemetry", "application/json", "1", 404, "POST /v1/telemetry/{stream}"},
		{"GET", "/v1/telemetry/boiler", "", "", 405, "use POST"},
		{"PUT", "/v1/telemetry/boiler", "application/json", "1", 405, "use POST"},
		{"POST", "/v1/health", "application/json", "1", 405, "use GET"},
		{"GET", "/", "", "", 404, "POST /v1/telemetry/{stream}"},
	} {
		got := w.do(t, test.method, test.path, test.kind, strings.NewReader(test.body))
		if got.status != test.status || !strings.Contains(got.Err+" "+got.Hint, test.words) {
			t.Errorf("%s %s as %q: %d %q, hint %q; want %d with %q", test.method, test.path, test.kind, got.status, got.Err, got.Hint, test.status, test.words)
		}
		if test.status == 405 && got.header.Get("Allow") == "" {
			t.Errorf("%s %s: 405 without Allow", test.method, test.path)
		}
	}
	if len(spool.all()) != 1 {
		t.Errorf("the spool has %v", spool.all())
	}
}

func TestCompressedReadingIsRefusedRatherThanStored(t *testing.T) {
	spool := &shelf{}
	w := serve(t, &Server{Spool: spool})
	q, _ := http.NewRequest("POST", "http://device/v1/telemetry/boiler", strings.NewReader("1"))
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Content-Encoding", "gzip")
	r, err := w.http.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != 415 || len(spool.all()) != 0 {
		t.Errorf("%d, stored %v", r.StatusCode, spool.all())
	}
}

func TestSpoolThatRefusesIsToldByItsCause(t *testing.T) {
	spool := &shelf{}
	w := serve(t, &Server{Spool: spool})
	for _, test := range []struct {
		err    error
		status int
		after  string
		hint   string
	}{
		{fault.AskOperator(fmt.Errorf("append: %w", &fs.PathError{Op: "write", Path: "1.seg", Err: noSpace}), "free some space"), 507, "5", "free some space"},
		{errors.New("input/output error"), 503, "5", ""},
		{fault.Later(errors.New("busy"), 90*time.Second), 503, "90", ""},
		{fault.As(fault.Permanent, errors.New("record too large")), 422, "", ""},
	} {
		spool.refuse(test.err)
		got := w.post(t, "boiler", "1")
		if got.status != test.status || got.header.Get("Retry-After") != test.after || got.Hint != test.hint || got.Err != test.err.Error() {
			t.Errorf("%v: %+v", test.err, got)
		}
	}
	spool.refuse(nil)
	if got := w.post(t, "boiler", "1"); got.status != 200 || got.Seq != 1 {
		t.Errorf("after the spool takes readings again: %+v", got)
	}
	if log := w.log.String(); strings.Count(log, "level=ERROR") != 1 || strings.Count(log, "takes readings again") != 1 {
		t.Errorf("not one line for each change:\n%s", log)
	}
	if w.Readings() != (Readings{Taken: 1, Refused: 4}) {
		t.Errorf("counted %+v", w.Readings())
	}
}

func TestHealthAnswersWhileTheSpoolRefuses(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{err: errors.New("no")}})
	w.post(t, "boiler", "1")
	for _, method := range []string{"GET", "HEAD"} {
		if got := w.do(t, method, "/v1/health", "", nil); got.status != 200 {
			t.Errorf("%s: %+v", method, got)
		}
	}
}

func TestPromisedReadingIsThereAfterAPowerCut(t *testing.T) {
	dir := t.TempDir()
	live, err := spool.Open(dir, spool.Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, &Server{Spool: live})
	got := w.post(t, "boiler", `{"celsius": 21.5}`)
	after, err := spool.Open(dir, spool.Limits{}, nil) // what the next boot finds: nothing was closed
	if err != nil {
		t.Fatal(err)
	}
	found := after.Peek(10)
	if got.status != 200 || len(found) != 1 || found[0].Seq != got.Seq || found[0].Stream != "boiler" || string(found[0].Body) != `{"celsius": 21.5}` {
		t.Errorf("promised %+v, found %+v", got, found)
	}
}

func TestLargestReadingThatIsPromisedFitsTheSpool(t *testing.T) {
	live, err := spool.Open(t.TempDir(), spool.Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, &Server{Spool: live})
	largest := `"` + strings.Repeat("x", spool.MaxBody-2) + `"`
	if got := w.post(t, "boiler", largest); got.status != 200 {
		t.Errorf("%d bytes: %+v", len(largest), got)
	}
	if got := w.post(t, "boiler", largest+" "); got.status != 413 {
		t.Errorf("%d bytes: %+v", len(largest)+1, got)
	}
}
