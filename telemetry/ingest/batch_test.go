package ingest

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestEachTypeIsStoredWithItsName(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf})
	for i, test := range []struct{ kind, body, stored string }{
		{"application/json", "[1, 2]", ""},
		{"application/cbor", "\x83\x01\x02\x03", "application/cbor"},
		{"application/octet-stream", "\x00\xff", "application/octet-stream"},
		{"text/plain", "warm", "text/plain"},
		{"Text/Plain; charset=UTF-8", "wärmer", "text/plain"},
	} {
		got := w.do(t, "POST", "/v1/telemetry/boiler", test.kind, strings.NewReader(test.body))
		if got.status != 200 || got.Seq != uint64(i+1) || shelf.kind(i) != test.stored || shelf.all()[i] != "boiler "+test.body {
			t.Errorf("%s: %+v, stored as %q", test.kind, got, shelf.kind(i))
		}
	}
}

func TestBatchIsOneCommitAndNamesItsNumbers(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf})
	w.post(t, "boiler", "0")
	for _, test := range []struct{ kind, body, stored string }{
		{typeLines, "{\"a\":1}\n\n[2]\r\n\"three\"", `[boiler {"a":1} boiler [2] boiler "three"]`},
		{typeSequence, "\x01\x81\x02\x61a", "[boiler \x01 boiler \x81\x02 boiler \x61a]"},
	} {
		had, commits := len(shelf.all()), shelf.commits()
		got := w.do(t, "POST", "/v1/telemetry/boiler", test.kind, strings.NewReader(test.body))
		if got.status != 200 || got.First != uint64(had+1) || got.Last != uint64(had+3) || got.Seq != 0 {
			t.Errorf("%s: %+v", test.kind, got)
		}
		if kept := fmt.Sprint(shelf.all()[had:]); kept != test.stored || shelf.commits() != commits+1 {
			t.Errorf("%s: the spool has %q after %d commits more", test.kind, kept, shelf.commits()-commits)
		}
	}
	if w.Readings().Taken != 7 {
		t.Errorf("counted %+v", w.Readings())
	}
}

func TestBatchThatIsWrongAnywhereIsRefusedWhole(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf, MaxBatch: 600 << 10})
	long := strings.Repeat("x", spool.MaxBody)
	for _, test := range []struct {
		kind, body string
		status     int
		words      string
	}{
		{typeLines, "1\n\n{oops}\n4", 400, "line 3 is not JSON: byte 2"},
		{typeLines, "1 2", 400, "line 1"},
		{typeLines, "{\n\"a\": 1}", 400, "line 1"},
		{typeLines, " \n\n", 400, "no reading"},
		{typeLines, "", 400, "no reading"},
		{typeLines, "1\n\"" + long + "\"", 400, "line 2: 261122 bytes"},
		{typeLines, strings.Repeat("1\n", 301<<10), 413, "a batch has at most 614400 bytes"},
		{typeSequence, "\x01\x82\x02", 400, "item 2 is not CBOR: byte 3"},
		{typeSequence, "", 400, "no reading"},
		{typeSequence, "\x01\x5a\x00\x03\xfc\x00" + long, 400, "item 2: 261125 bytes"},
		{typeCBOR, "\x01\x02", 400, "at byte 1, is more"},
		{typeCBOR, "\x82\x02", 400, "byte 2"},
		{typeCBOR, "", 400, "not CBOR"},
		{typeText, "\xff", 400, "not UTF-8"},
	} {
		got := w.do(t, "POST", "/v1/telemetry/boiler", test.kind, strings.NewReader(test.body))
		if got.status != test.status || !strings.Contains(got.Err, test.words) || got.Hint == "" {
			t.Errorf("%s %.20q: %+v, want %d with %q", test.kind, test.body, got, test.status, test.words)
		}
	}
	if len(shelf.all()) > 0 {
		t.Errorf("the spool has %d readings", len(shelf.all()))
	}
}

func TestStreamThatIsOnTheMediumLaterIsAcceptedAndNotPromised(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}, Volatile: func(stream string) bool { return stream == "noise" }})
	if got := w.post(t, "noise", "1"); got.status != 202 || got.Seq != 1 {
		t.Errorf("noise: %+v", got)
	}
	if got := w.post(t, "boiler", "1"); got.status != 200 {
		t.Errorf("boiler: %+v", got)
	}
}

func TestFullSpoolIsToldAsInsufficientStorage(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf})
	for want, err := range map[string]error{"90": fault.Later(spool.ErrFull, 90*time.Second), "5": fault.As(fault.Permanent, spool.ErrFull)} {
		shelf.refuse(fmt.Errorf("put: %w", err))
		got := w.do(t, "POST", "/v1/telemetry/boiler", typeLines, strings.NewReader("1\n2"))
		if got.status != 507 || got.header.Get("Retry-After") != want {
			t.Errorf("%v: %+v", err, got)
		}
	}
	if w.Readings() != (Readings{Refused: 4}) {
		t.Errorf("counted %+v", w.Readings())
	}
}

func TestClientBeyondItsQuotaIsToldWhenToComeAgain(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf, Quota: Quota{Readings: 3}})
	for i := range 3 {
		if got := w.post(t, "boiler", "1"); got.status != 200 {
			t.Errorf("reading %d: %+v", i, got)
		}
	}
	got := w.post(t, "boiler", "1")
	if after := got.header.Get("Retry-After"); got.status != 429 || after != "20" && after != "21" || !strings.Contains(got.Err, "uid ") {
		t.Errorf("%+v, Retry-After %s", got, after)
	}
	if len(shelf.all()) != 3 {
		t.Errorf("the spool has %v", shelf.all())
	}
}

func TestQuotaComesBackWithTimeAndKnowsItsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &quotas{Quota: Quota{Readings: 60, Bytes: 6000}}
		if q.wait("a") != 0 {
			t.Error("a new client waits")
		}
		q.charge("a", 30, 12000) // one batch, twice the bytes of a minute
		if wait := q.wait("a"); wait < time.Minute || wait > time.Minute+time.Second {
			t.Errorf("waits %v", wait)
		}
		if q.wait("b") != 0 {
			t.Error("another client waits for it")
		}
		time.Sleep(q.wait("a"))
		if wait := q.wait("a"); wait != 0 {
			t.Errorf("still waits %v", wait)
		}
		time.Sleep(time.Hour) // saves up no more than a minute's
		q.charge("a", 60, 0)
		if wait := q.wait("a"); wait < time.Second || wait > 2*time.Second {
			t.Errorf("waits %v", wait)
		}
	})
}

func TestBytesInHandAreBounded(t *testing.T) {
	shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := serve(t, &Server{Spool: shelf, InHand: 100})
	body := `"` + strings.Repeat("x", 58) + `"`
	first, second := make(chan reply, 1), make(chan reply, 1)
	go func() { first <- w.post(t, "boiler", body) }()
	<-shelf.enter
	go func() { second <- w.post(t, "boiler", body) }()
	for w.waiting() == 0 { // it is not even read
		runtime.Gosched()
	}
	shelf.door <- struct{}{}
	if got := <-first; got.status != 200 {
		t.Errorf("first: %+v", got)
	}
	<-shelf.enter
	shelf.door <- struct{}{}
	if got := <-second; got.status != 200 {
		t.Errorf("second: %+v", got)
	}
}

func (s *Server) waiting() int {
	s.gate.hand.mu.Lock()
	defer s.gate.hand.mu.Unlock()
	return len(s.gate.hand.queue)
}

func TestHandKeepsItsOrderAndItsSum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHand(10)
		if err := h.take(t.Context(), "a", 25); err != nil { // more than all is all
			t.Fatal(err)
		}
		order := make(chan int, 3)
		for i, n := range []int64{8, 2, 9} {
			go func() {
				if err := h.take(t.Context(), strconv.Itoa(i), n); err == nil {
					order <- i
				}
			}()
			synctest.Wait()
		}
		h.give("a", 25)
		synctest.Wait()
		if first, second := <-order, <-order; first+second != 1 || len(order) > 0 {
			t.Errorf("%d and %d came in, and %d more", first, second, len(order))
		}
		h.give("0", 8)
		h.give("1", 2)
		if third := <-order; third != 2 || h.held != 9 || len(h.of) != 1 {
			t.Errorf("then %d, and %d are held", third, h.held)
		}
	})
}

func TestWhoWaitsInVainForRoomIsToldSo(t *testing.T) {
	shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
	w := serve(t, &Server{Spool: shelf, InHand: 1})
	go func() {
		r, err := w.http.Post("http://device/v1/telemetry/boiler", typeJSON, strings.NewReader("1"))
		if err == nil {
			_ = r.Body.Close()
		}
	}()
	<-shelf.enter
	if got := w.post(t, "boiler", "2"); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("%+v", got)
	}
	close(shelf.door)
}

func TestChunkedBatchIsTaken(t *testing.T) {
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf})
	got := w.do(t, "POST", "/v1/telemetry/boiler", typeLines, struct{ io.Reader }{strings.NewReader("1\n2\n3\n")})
	if got.status != 200 || got.First != 1 || got.Last != 3 {
		t.Errorf("%+v", got)
	}
	if w.gate.hand.held != 0 {
		t.Errorf("%d bytes are still held", w.gate.hand.held)
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(typeLines, []byte("1\n\n{\"a\":2}\r\n"))
	f.Add(typeSequence, []byte("\x01\x81\x02"))
	f.Add(typeText, []byte("warm"))
	f.Add(typeCBOR, []byte("\xa1\x61a\x01"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		if _, no := mediaType(http.Header{"Content-Type": {kind}}); no != nil {
			return
		}
		kind, _, _ = mime.ParseMediaType(kind)
		all, err := readings("boiler", kind, body)
		if (err == nil) != (len(all) > 0) {
			t.Fatalf("%d readings, %v", len(all), err)
		}
		for _, r := range all { // each by itself is a reading again
			one := r.Type
			if one == "" {
				one = typeJSON
			}
			if again, err := readings("boiler", one, r.Body); err != nil || len(again) != 1 {
				t.Errorf("%q of %q: %v", r.Body, kind, err)
			}
		}
	})
}
