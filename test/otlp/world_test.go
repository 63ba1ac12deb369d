package otlp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/devid-agent/devid-agent/telemetry/ingest"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// world is a real listener before a real spool, and the answers that it gave.
type world struct {
	*testing.T
	socket, dir string

	mu      sync.Mutex
	answers []int
	asked   []string // Retry-After of answers
}

// open serves s, with the spool behind it, until the test ends. before stands between the two, where it is not nil.
func open(t *testing.T, s *ingest.Server, before func(ingest.Spool) ingest.Spool) *world {
	t.Helper()
	run, err := os.MkdirTemp("", "otlp") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	w := &world{T: t, socket: filepath.Join(run, "ingest.sock"), dir: t.TempDir()}
	live, err := spool.Open(w.dir, spool.Limits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Path, s.Spool, s.Log = w.socket, live, slog.New(slog.DiscardHandler)
	if before != nil {
		s.Spool = before(live)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	w.await()
	return w
}

func (w *world) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", w.socket)
}

// await returns once the socket is there: a connection waits for the rest.
func (w *world) await() {
	w.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		c, err := w.dial(w.Context(), "", "")
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			w.Fatal(err)
		}
	}
}

// RoundTrip notes what the listener answers.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	transport := &http.Transport{DialContext: w.dial, DisableKeepAlives: true}
	answer, err := transport.RoundTrip(r)
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.answers = append(w.answers, answer.StatusCode)
		w.asked = append(w.asked, answer.Header.Get("Retry-After"))
	}
	return answer, err
}

func (w *world) said() ([]int, []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answers, w.asked
}

// exporter is OpenTelemetry's, with gzip, at our socket.
func (w *world) exporter(options ...otlpmetrichttp.Option) *otlpmetrichttp.Exporter {
	w.Helper()
	all := append([]otlpmetrichttp.Option{
		otlpmetrichttp.WithEndpoint("localhost"), otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
		otlpmetrichttp.WithHTTPClient(&http.Client{Transport: w, Timeout: 10 * time.Second}),
	}, options...)
	e, err := otlpmetrichttp.New(w.Context(), all...)
	if err != nil {
		w.Fatal(err)
	}
	return e
}

// reading is what the next boot would find.
type reading struct {
	stream, kind string
	body         map[string]any
}

func (w *world) found() (all []reading) {
	w.Helper()
	after, err := spool.Open(w.dir, spool.Limits{}, nil) // nothing was closed
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range after.Peek(1 << 20) {
		one := reading{stream: r.Stream, kind: r.Type}
		if err := json.Unmarshal(r.Body, &one.body); err != nil {
			w.Fatalf("%s: %v", r.Body, err)
		}
		all = append(all, one)
	}
	return all
}

// collect is what the SDK would export now.
func (w *world) collect(r metric.Reader) *metricdata.ResourceMetrics {
	w.Helper()
	var now metricdata.ResourceMetrics
	if err := r.Collect(w.Context(), &now); err != nil {
		w.Fatal(err)
	}
	return &now
}

// like reports what differs between a reading and what is wanted of it: each member, and no other.
func (w *world) like(got reading, want map[string]any) {
	w.Helper()
	text, err := json.Marshal(want)
	if err != nil {
		w.Fatal(err)
	}
	var plain map[string]any
	if err := json.Unmarshal(text, &plain); err != nil {
		w.Fatal(err)
	}
	if got.stream != "metrics" || got.kind != "" || !reflect.DeepEqual(got.body, plain) {
		body, _ := json.Marshal(got.body)
		w.Errorf("%s %s\n%s, want\n%s", got.stream, got.kind, body, text)
	}
}
