package ingest

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/ingest/otlp"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// oil is a request with data points of these JSON objects.
func oil(points string) string {
	return `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"oil","gauge":{"dataPoints":[` + points + `]}}]}]}]}`
}

const oneReading = `{"metric":"oil","type":"gauge","value":1}`

func zip(t *testing.T, plain string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func protobuf(t *testing.T, request string) string {
	t.Helper()
	b, err := otlp.FromJSON([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// export posts metrics as an exporter does, and returns the answer with its body.
func (w *serving) export(t *testing.T, path, kind, coding, body string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), "POST", "http://device"+path, struct{ io.Reader }{strings.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", kind)
	if coding != "" {
		q.Header.Set("Content-Encoding", coding)
	}
	r, err := w.http.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	said, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(said)
}

func TestMetricsAreTakenInEachEncodingAndAnsweredInTheSame(t *testing.T) {
	request := oil(`{"asInt":"1"}`)
	for name, test := range map[string]struct{ path, kind, coding, body, stored, answer string }{
		"protobuf":           {"/v1/metrics", typeProtobuf, "", protobuf(t, request), "metrics " + oneReading, ""},
		"protobuf, zipped":   {"/v1/metrics", typeProtobuf, "gzip", zip(t, protobuf(t, request)), "metrics " + oneReading, ""},
		"JSON":               {"/v1/metrics", "application/json; charset=UTF-8", "", request, "metrics " + oneReading, "{}"},
		"JSON, zipped":       {"/v1/metrics", typeJSON, "gzip", zip(t, request), "metrics " + oneReading, "{}"},
		"a stream of my own": {"/v1/metrics/press", typeJSON, "", request, "press " + oneReading, "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			shelf := &shelf{}
			w := serve(t, &Server{Spool: shelf})
			r, said := w.export(t, test.path, test.kind, test.coding, test.body)
			kind, _, _ := strings.Cut(test.kind, ";")
			if r.StatusCode != 200 || said != test.answer || r.Header.Get("Content-Type") != kind || r.Header.Get("Content-Encoding") != "" {
				t.Errorf("%s %v %q", r.Status, r.Header, said)
			}
			if got := shelf.all(); !slices.Equal(got, []string{test.stored}) || shelf.kind(0) != "" {
				t.Errorf("stored %q", got)
			}
		})
	}
}

func TestMetricsAreOneCommitAndPromisedOnlyAfterIt(t *testing.T) {
	shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := serve(t, &Server{Spool: shelf})
	answered := make(chan string, 1)
	go func() {
		r, _ := w.export(t, "/v1/metrics", typeJSON, "", oil(`{"asInt":"1"},{"asInt":"1"}`))
		answered <- r.Status
	}()
	<-shelf.enter
	select {
	case status := <-answered:
		t.Fatalf("%s before the medium has the points", status)
	case <-time.After(50 * time.Millisecond):
	}
	close(shelf.door)
	if status := <-answered; status != "200 OK" || shelf.commits() != 1 || len(shelf.all()) != 2 {
		t.Errorf("%s: %d commits of %q", status, shelf.commits(), shelf.all())
	}
}

func TestPointsThatAreRefusedAreToldAndTheOthersAreStored(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf})
	r, said := w.export(t, "/v1/metrics", typeJSON, "", oil(`{},{"asInt":"1"},{}`))
	want := `{"partialSuccess":{"rejectedDataPoints":"2","errorMessage":"a data point of \"oil\": it has no value of a kind that is known here"}}`
	if r.StatusCode != 200 || said != want || !slices.Equal(shelf.all(), []string{"metrics " + oneReading}) {
		t.Errorf("%s %s, stored %q", r.Status, said, shelf.all())
	}
	if got := w.Readings(); got != (Readings{Taken: 1, Refused: 2}) {
		t.Errorf("%+v", got)
	}
	if r, said := w.export(t, "/v1/metrics", typeJSON, "", oil(`{}`)); r.StatusCode != 200 || !strings.Contains(said, `"rejectedDataPoints":"1"`) {
		t.Errorf("%s %s", r.Status, said)
	}
}

func TestMetricsThatCarryNothingAreTaken(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf})
	if r, said := w.export(t, "/v1/metrics", typeProtobuf, "", ""); r.StatusCode != 200 || said != "" || shelf.commits() > 0 {
		t.Errorf("%s %q, %d commits", r.Status, said, shelf.commits())
	}
}

func TestMetricsOfAStreamThatIsOnTheMediumLaterAreTaken(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}, Volatile: func(stream string) bool { return stream == metricsStream }})
	if r, _ := w.export(t, "/v1/metrics", typeJSON, "", oil(`{"asInt":"1"}`)); r.StatusCode != 200 { // exporters know no other yes
		t.Error(r.Status)
	}
}

// What may come again later has to be 429, 502, 503 or 504, and what may not has to be anything else.
func TestExporterIsToldWhetherToComeAgain(t *testing.T) {
	good := oil(`{"asInt":"1"}`)
	cut := zip(t, good)[:20]
	for name, test := range map[string]struct {
		server             *Server
		path, kind, coding string
		body               string
		status             int
		again              string
		says               string
	}{
		"full":             {&Server{Spool: &shelf{err: fault.Later(spool.ErrFull, 7*time.Second)}}, "", typeJSON, "", good, 503, "7", "the spool is full"},
		"medium":           {&Server{Spool: &shelf{err: io.ErrUnexpectedEOF}}, "", typeJSON, "", good, 503, "5", "unexpected EOF"},
		"no UTF-8":         {&Server{}, "", typeJSON, "", "\xff", 400, "", "UTF-8"},
		"not protobuf":     {&Server{}, "", typeProtobuf, "", good, 400, "", "read the metrics"},
		"not zipped":       {&Server{}, "", typeJSON, "gzip", good, 400, "", "gzip: invalid header"},
		"cut short":        {&Server{}, "", typeJSON, "gzip", cut, 400, "", "unexpected EOF"},
		"another coding":   {&Server{}, "", typeJSON, "zstd", good, 415, "", "no Content-Encoding or gzip"},
		"another type":     {&Server{}, "", "text/plain", "", good, 415, "", typeProtobuf},
		"no stream":        {&Server{}, "/a%2fb", typeJSON, "", good, 400, "", "no name of a stream"},
		"not permitted":    {&Server{Permissions: []Permission{{User: "4294967294", Streams: []string{"*"}}}}, "", typeJSON, "", good, 403, "", "telemetry.ingest.permissions"},
		"long":             {&Server{MaxBatch: 100}, "", typeJSON, "", good, 413, "", "max_batch"},
		"long, unpacked":   {&Server{MaxBatch: 100}, "", typeJSON, "gzip", zip(t, good), 413, "", "max_batch"},
		"long as readings": {&Server{MaxBatch: 200}, "", typeProtobuf, "", protobuf(t, oil(strings.Repeat(`{"asInt":"1"},`, 9)+`{}`)), 413, "", "max_batch"},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.server
			if s.Spool == nil {
				s.Spool = &shelf{}
			}
			w := serve(t, s)
			r, said := w.export(t, "/v1/metrics"+test.path, test.kind, test.coding, test.body)
			if r.StatusCode != test.status || r.Header.Get("Retry-After") != test.again || !strings.Contains(said, test.says) {
				t.Errorf("%s %v %q", r.Status, r.Header, said)
			}
			if kept, ok := s.Spool.(*shelf); ok && len(kept.all()) > 0 {
				t.Errorf("stored %q", kept.all())
			}
			if test.kind == typeJSON && !strings.HasPrefix(said, `{"message":"`) {
				t.Errorf("no google.rpc.Status: %s", said)
			}
			if got := w.Readings(); got.Refused == 0 || got.Taken > 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestExporterBeyondItsQuotaIsToldWhenToComeAgain(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}, Quota: Quota{Readings: 2}})
	two := oil(`{"asInt":"1"},{"asInt":"1"}`)
	if r, _ := w.export(t, "/v1/metrics", typeJSON, "", two); r.StatusCode != 200 {
		t.Fatal(r.Status)
	}
	r, said := w.export(t, "/v1/metrics", typeJSON, "", two)
	if r.StatusCode != 429 || r.Header.Get("Retry-After") != "31" && r.Header.Get("Retry-After") != "30" || !strings.Contains(said, "telemetry.ingest.quota") {
		t.Errorf("%s %v %s", r.Status, r.Header, said)
	}
}

func TestBombIsRefusedWithoutBeingUnpacked(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}})
	bomb := zip(t, strings.Repeat(" ", 64<<20))
	before := heap()
	if r, said := w.export(t, "/v1/metrics", typeProtobuf, "gzip", bomb); r.StatusCode != 413 {
		t.Errorf("%s %s", r.Status, said)
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("%d KiB were allocated to refuse it", grown>>10)
	}
}
