package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// shelf is a spool in memory: it keeps what it takes, and can be told to refuse or to hold the door.
type shelf struct {
	mu    sync.Mutex
	kept  []string
	err   error
	enter chan struct{} // where not nil: told when an Append has begun …
	door  chan struct{} // … and waits for this
}

func (s *shelf) Append(ctx context.Context, stream string, body []byte) (uint64, error) {
	if s.enter != nil {
		s.enter <- struct{}{}
		select {
		case <-s.door:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.kept = append(s.kept, stream+" "+string(body))
	return uint64(len(s.kept)), nil
}

func (s *shelf) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.kept...)
}

func (s *shelf) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// serving is a server that runs until the test ends, or until stop.
type serving struct {
	*Server
	http  *http.Client
	log   *logged
	stop  func()
	ended chan error
}

// logged is a log that a test reads while the server writes it.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// shortDir is a directory whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ingest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func serve(t testing.TB, s *Server) *serving {
	t.Helper()
	if s.Path == "" {
		s.Path = filepath.Join(shortDir(t), "run", "ingest.sock")
	}
	w := &serving{Server: s, log: &logged{}, ended: make(chan error, 1)}
	s.Log = slog.New(slog.NewTextHandler(w.log, nil))
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.ended <- s.Run(ctx) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.Path)
	}}
	w.http = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
	})
	w.await(t)
	return w
}

// await returns once the socket answers.
func (w *serving) await(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		r, err := w.http.Get("http://device/v1/health")
		if err == nil {
			_ = r.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not come up: %v", err)
		}
	}
}

// dial is a raw connection, for clients that do not behave.
func (w *serving) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", w.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type reply struct {
	status int
	header http.Header
	Seq    uint64 `json:"seq"`
	Err    string `json:"error"`
	Hint   string `json:"hint"`
}

func (w *serving) do(t testing.TB, method, path, contentType string, body io.Reader) reply {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, "http://device"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		q.Header.Set("Content-Type", contentType)
	}
	r, err := w.http.Do(q)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer r.Body.Close()
	got := reply{status: r.StatusCode, header: r.Header}
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil && method != http.MethodHead {
		t.Errorf("%s %s: the answer is not JSON: %v", method, path, err)
	}
	return got
}

func (w *serving) post(t testing.TB, stream, body string) reply {
	t.Helper()
	return w.do(t, "POST", "/v1/telemetry/"+stream, "application/json", strings.NewReader(body))
}

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
		t.Fatalf("answered %+v before Append returned", got)
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
