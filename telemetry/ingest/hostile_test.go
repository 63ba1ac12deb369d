package ingest

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestClientThatOnlyLeavesWillsIsHeldToItsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		m := &MQTT{Server: &Server{Spool: shelf, Quota: Quota{Readings: 2}}}
		begin := time.Now()
		for range 5 {
			c, _, ended := piped(t, m)
			c.send(hello("a", flagClean|flagWill|flagWillQoS, 0, str("status"), str(`"lost"`)))
			c.expect(connack<<4, 2, 0, 0)
			_ = c.Close()
			<-ended
		}
		if took := time.Since(begin); took < 89*time.Second || took > 92*time.Second || len(shelf.all()) != 5 {
			t.Errorf("%d wills in %v, want 5 in 90 s", len(shelf.all()), took)
		}
	})
}

// Half a million readings of one byte would be 30 MB of readings, and more in the spool.
func TestBatchOfTinyReadingsCostsNoMoreThanOthers(t *testing.T) {
	for kind, body := range map[string]string{typeLines: strings.Repeat("1\n", usualBatch/2), typeSequence: strings.Repeat("\x01", usualBatch)} {
		w := serve(t, &Server{Spool: &shelf{}})
		before := heap()
		got := w.do(t, "POST", "/v1/telemetry/boiler", kind, strings.NewReader(body))
		if grown := heap() - before; grown > 16<<20 {
			t.Errorf("%s: %d KiB were allocated", kind, grown>>10)
		}
		if got.status != 413 || !strings.Contains(got.Err, "32768 readings") || got.Hint != "send it in several batches" {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

func TestManyBrokenClientsDoNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		m := &MQTT{Log: slog.New(slog.NewTextHandler(log, nil))}
		for i := range 3000 { // ten minutes of five clients that come back each second, with a topic of their own each time
			m.complain(peer{}, fmt.Errorf("topic %d: %w", i, errMalformed))
			time.Sleep(silence / 3000)
		}
		if n := strings.Count(log.String(), "\n"); n < 2 || n > 2*mostComplaints {
			t.Errorf("%d lines", n)
		}
		time.Sleep(silence)
		m.complain(peer{}, errNoPassword)
		if !strings.Contains(log.String(), errNoPassword.Error()) {
			t.Error("it is silent for ever")
		}
	})
}

func TestTwoClientsThatComeBackInTurnAreToldOfOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		m := &MQTT{Log: slog.New(slog.NewTextHandler(log, nil))}
		for range 100 {
			m.complain(peer{}, errMalformed)
			m.complain(peer{}, errNoPassword)
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("%d lines:\n%s", n, log)
		}
	})
}

func TestCrowdIsToldOfOnce(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}, Conns: 1})
	w.http.CloseIdleConnections()
	for range 20 {
		c := w.dial(t)
		if _, err := io.WriteString(c, "GET /v1/health HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(w.log.String(), "no further client is served until one goes"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, w.log)
	}
}

// Each of these holds what its reading will have, until it is cut off.
func TestClientThatEndsNoReadingHoldsNobodyElseUp(t *testing.T) {
	w := listen(t, &MQTT{Listen: "127.0.0.1:0", Server: &Server{Spool: &shelf{}}, Users: map[string]string{"broken": "x", "good": "x"}})
	as := func(user, id string) *client {
		c := w.dial(t)
		c.send(hello(id, flagClean|flagUser|flagPassword, 0, str(user), str("x")))
		c.expect(connack<<4, 2, 0, 0)
		return c
	}
	for i := range 2 * usualHand / spool.MaxBody {
		half := message1(1, "boiler", strings.Repeat("1", spool.MaxBody-1))[:spool.MaxBody/2]
		as("broken", fmt.Sprint(i)).send(half)
	}
	begin := time.Now()
	good := as("good", "")
	for id := range byte(10) {
		good.send(message1(uint16(id)+1, "boiler", "1"))
		good.expect(puback<<4, 2, 0, id+1)
	}
	if took := time.Since(begin); took > readTimeout/2 {
		t.Errorf("10 readings beside a client that ends none took %v", took)
	}
}

func TestProgramThatForgetsItsConnectionsHindersNobodyForLong(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}})
	for range 10 * usualConns {
		w.dial(t)
	}
	begin := time.Now()
	if got := w.post(t, "boiler", "1"); got.status != 200 {
		t.Errorf("%+v", got)
	}
	if took := time.Since(begin); took > 2*headerTimeout {
		t.Errorf("a reading behind %d silent connections took %v", 10*usualConns, took)
	}
}
