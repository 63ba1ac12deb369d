package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// zeros is a body that costs its sender nothing.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestFault46GigabyteIsRefusedWithoutBeingHeld(t *testing.T) {
	const gigabyte = 1 << 30
	for name, announced := range map[string]bool{"announced": true, "chunked": false} {
		w := serve(t, &Server{Spool: &shelf{}})
		before := heap()
		body := io.LimitReader(zeros{}, gigabyte)
		if !announced {
			body = struct{ io.Reader }{body}
		}
		q, _ := http.NewRequestWithContext(t.Context(), "POST", "http://device/v1/telemetry/boiler", body)
		q.Header.Set("Content-Type", "application/json")
		if announced {
			q.ContentLength = gigabyte
		}
		r, err := w.http.Do(q)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = r.Body.Close()
		if r.StatusCode != 413 {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
		if grown := heap() - before; grown > 8<<20 {
			t.Errorf("%s: %d KiB were allocated to refuse it", name, grown>>10)
		}
		if got := w.post(t, "boiler", "1"); got.status != 200 {
			t.Errorf("%s: afterwards %+v", name, got)
		}
	}
}

func TestTooLargeIsToldBeforeItIsSent(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}})
	c := w.dial(t)
	fmt.Fprint(c, "POST /v1/telemetry/boiler HTTP/1.1\r\nHost: device\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "413") {
		t.Errorf("answered %q (%v)", line, err)
	}
}

func TestFault46StalledClientsHinderNobody(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}, Conns: 8})
	for i := range 7 {
		c := w.dial(t)
		half := []string{"", "POST /v1/tele", "POST /v1/telemetry/boiler HTTP/1.1\r\nHost: device\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"}[i%3]
		if _, err := io.WriteString(c, half); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	for range 100 {
		if got := w.post(t, "boiler", "1"); got.status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	if took := time.Since(begin); took > headerTimeout/2 {
		t.Errorf("100 readings beside 7 stalled clients took %v", took)
	}
}

func TestClientsBeyondTheLimitWaitAndThenServe(t *testing.T) {
	spool := &shelf{}
	w := serve(t, &Server{Spool: spool, Conns: 2})
	var group sync.WaitGroup
	refused := make(chan string, 40)
	for i := range 40 {
		group.Go(func() {
			c, err := net.Dial("unix", w.Path)
			if err != nil {
				refused <- err.Error()
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "POST /v1/telemetry/boiler HTTP/1.1\r\nHost: device\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n%02d", 10+i)
			if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
				refused <- fmt.Sprint(line, err)
			}
		})
	}
	group.Wait()
	close(refused)
	for why := range refused {
		t.Errorf("refused: %s", why)
	}
	if len(spool.all()) != 40 {
		t.Errorf("%d of 40 stored", len(spool.all()))
	}
}

func TestReadingOfAClientThatHungUpIsKept(t *testing.T) {
	spool := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := serve(t, &Server{Spool: spool})
	c := w.dial(t)
	fmt.Fprint(c, "POST /v1/telemetry/boiler HTTP/1.1\r\nHost: device\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n42")
	<-spool.enter
	_ = c.Close()
	w.post405(t) // the server has had its chance to notice
	close(spool.door)
	w.stop()
	<-w.ended // grace: what has begun is finished
	if got := fmt.Sprint(spool.all()); got != "[boiler 42]" {
		t.Errorf("the spool has %s", got)
	}
}

// post405 goes through the server once without touching the spool.
func (w *serving) post405(t *testing.T) {
	t.Helper()
	if got := w.do(t, "GET", "/v1/telemetry/boiler", "", nil); got.status != 405 {
		t.Errorf("%+v", got)
	}
}

func TestStopFinishesWhatHasBegun(t *testing.T) {
	spool := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := serve(t, &Server{Spool: spool})
	answered := make(chan reply, 1)
	go func() { answered <- w.post(t, "boiler", "1") }()
	<-spool.enter
	w.stop()
	close(spool.door)
	if got := <-answered; got.status != 200 {
		t.Errorf("%+v", got)
	}
	<-w.ended
}

func TestStopDoesNotWaitForAHangingMedium(t *testing.T) {
	spool := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := serve(t, &Server{Spool: spool})
	c := w.dial(t)
	fmt.Fprint(c, "POST /v1/telemetry/boiler HTTP/1.1\r\nHost: device\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1")
	<-spool.enter
	begin := time.Now()
	w.stop()
	<-w.ended
	if took := time.Since(begin); took < grace || took > grace+time.Second {
		t.Errorf("the stop took %v", took)
	}
	if _, err := bufio.NewReader(c).ReadString('\n'); !errors.Is(err, io.EOF) {
		t.Errorf("a reading that is on no medium was answered: %v", err)
	}
	close(spool.door)
}

func TestCurlIsAClient(t *testing.T) {
	curl := need(t, "curl", "curl")
	spool := &shelf{}
	w := serve(t, &Server{Spool: spool})
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), curl, append([]string{"-sS", "-w", " %{http_code}", "--unix-socket", w.Path}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("curl %v: %v: %s", args, err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	url := "http://localhost/v1/telemetry/boiler"
	if got := run("-H", "Content-Type: application/json", "-d", `{"celsius":21.5}`, url); got != `{"seq":1} 200` {
		t.Errorf("curl got %s", got)
	}
	if got := run("-d", `{"celsius":21.5}`, url); !strings.Contains(got, "Content-Type: application/json") || !strings.HasSuffix(got, "415") {
		t.Errorf("curl without a type got %s", got)
	}
	if fmt.Sprint(spool.all()) != `[boiler {"celsius":21.5}]` {
		t.Errorf("the spool has %v", spool.all())
	}
}

func BenchmarkReading(b *testing.B) {
	w := serve(b, &Server{Spool: &shelf{}})
	for b.Loop() {
		if got := w.post(b, "boiler", `{"celsius":21.5}`); got.status != 200 {
			b.Fatalf("%+v", got)
		}
	}
}
