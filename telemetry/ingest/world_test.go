package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
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
	types []string // of kept
	puts  int      // commits
	err   error
	enter chan struct{} // where not nil: told when a Put has begun …
	door  chan struct{} // … and waits for this
}

func (s *shelf) Put(ctx context.Context, readings ...spool.Reading) (uint64, error) {
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
	s.puts++
	for _, r := range readings {
		s.kept, s.types = append(s.kept, r.Stream+" "+string(r.Body)), append(s.types, r.Type)
	}
	return uint64(len(s.kept) - len(readings) + 1), nil
}

func (s *shelf) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.kept...)
}

// commits is how many there were, and kind the type of the i-th reading.
func (s *shelf) commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.puts
}

func (s *shelf) kind(i int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.types[i]
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
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
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

// lanes is a spool that refuses one stream until it is opened.
type lanes struct {
	mu   sync.Mutex
	full string
	kept map[string]int
}

func (l *lanes) Put(_ context.Context, readings ...spool.Reading) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if readings[0].Stream == l.full {
		return 0, fault.Later(spool.ErrFull, time.Second)
	}
	l.kept[readings[0].Stream] += len(readings)
	return 1, nil
}

func (l *lanes) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = ""
}
