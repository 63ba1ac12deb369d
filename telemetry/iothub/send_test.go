package iothub

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/sim"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestReadingsArriveInOrderWithTheirProperties(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		conn := w.dial()
		defer conn.Close()
		batch := records(100)
		batch[0].Stream = "my stream/ü&=%+#"
		if n, err := sendEach(conn, batch); n != 100 || err != nil {
			w.Fatalf("%d, %v", n, err)
		}
		got := w.cloud.Received(device)
		for i, m := range got {
			if string(m.Body) != string(batch[i].Body) {
				w.Fatalf("message %d is %s", i+1, m.Body)
			}
		}
		want := map[string]string{
			"$.mid": "spool-1-" + strconv.FormatInt(batch[0].Time.UnixNano(), 36), "$.ct": "application/json", "$.ce": "utf-8", "$.ctime": batch[0].Time.UTC().Format("2006-01-02T15:04:05.000Z"),
			"stream": batch[0].Stream, "seq": "1",
		}
		if len(got) != 100 || !maps.Equal(got[0].Properties, want) || got[0].QoS != 1 {
			w.Errorf("%d messages, the first with %v", len(got), got[0].Properties)
		}
	})
}

func TestWindowHidesTheRoundTrip(t *testing.T) {
	const trip = 50 * time.Millisecond
	inWorld(t, sim.Temper{Latency: trip}, func(w *world) {
		conn := w.dial()
		defer conn.Close()
		start := time.Now()
		n, err := sendEach(conn, records(160))
		if took := time.Since(start); n != 160 || err != nil || took < 9*trip || took > 11*trip {
			w.Errorf("%d records, %v, took %v; a window of 16 takes 10 round trips of %v", n, err, took, trip)
		}
	})
}

func TestSendReturnsTheAcknowledgedPrefix(t *testing.T) {
	for name, temper := range map[string]sim.Temper{"lost acknowledgement": {LostAck: 7}, "lost message": {DropSession: 7}} {
		inWorld(t, temper, func(w *world) {
			conn := w.dial()
			defer conn.Close()
			n, err := sendEach(conn, records(20))
			if n != 6 || err == nil || fault.Of(err) != fault.Transient {
				w.Errorf("%s: %d, %v", name, n, err)
			}
			<-conn.Done()
			if n, err := sendEach(conn, records(1)); n != 0 || err == nil {
				w.Errorf("%s: a session that is over sent %d, %v", name, n, err)
			}
			start := time.Now()
			conn.Close()
			if took := time.Since(start); took > time.Second {
				w.Errorf("%s: letting go of a session that is over took %v", name, took)
			}
		})
	}
}

func TestNothingIsLostOverManyLostSessions(t *testing.T) {
	for name, temper := range map[string]sim.Temper{
		"lost acknowledgements": {LostAck: 29, Latency: 20 * time.Millisecond},
		"lost messages":         {DropSession: 31, Latency: 20 * time.Millisecond},
	} {
		inWorld(t, temper, func(w *world) {
			all := records(300)
			for left := all; len(left) > 0; {
				conn, err := w.lend(w.Context())
				if err != nil {
					w.Fatal(err)
				}
				n, _ := sendEach(conn, left[:min(64, len(left))])
				left = left[n:]
			}
			w.wantInOrder(name, all)
		})
	}
}

// wantInOrder holds what the hub received against what was sent: each record at least once, for the first time in
// order, and repeated only as far as a window reaches.
func (w *world) wantInOrder(name string, sent []spool.Record) {
	w.Helper()
	next, again := uint64(1), 0
	for _, m := range w.cloud.Received(device) {
		switch seq, _ := strconv.ParseUint(m.Properties["seq"], 10, 64); {
		case seq == next:
			next++
		case seq < next && next-seq <= 16:
			again++
		default:
			w.Fatalf("%s: record %d came when %d was due", name, seq, next)
		}
	}
	if next != uint64(len(sent))+1 || again == 0 && name != "lost messages" {
		w.Errorf("%s: %d of %d arrived, %d again", name, next-1, len(sent), again)
	}
}

func TestTooLargeRecordIsPermanentAndCostsNoSession(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		conn := w.dial()
		defer conn.Close()
		batch := records(3)
		batch[1].Body = make([]byte, maxMessage)
		n, err := sendEach(conn, batch)
		if n != 1 || fault.Of(err) != fault.Permanent {
			w.Errorf("%d, %v", n, err)
		}
		if n, err := sendEach(conn, batch[2:]); n != 1 || err != nil {
			w.Errorf("afterwards: %d, %v", n, err)
		}
	})
}

func TestLargestRecordThatFitsArrives(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		conn := w.dial()
		defer conn.Close()
		r := records(1)[0]
		r.Body = make([]byte, maxMessage-len(conn.(*Conn).topic("spool", r, message{n: 1})))
		if n, err := sendEach(conn, []spool.Record{r}); n != 1 || err != nil {
			w.Errorf("%d, %v", n, err)
		}
	})
}

func TestRefusalOfTheIdentityIsToldFromAnOutage(t *testing.T) {
	connack := func(code int) sim.Temper {
		return sim.Temper{Fault: func(p sim.Point, _ string, _ int) error {
			if p == sim.AtConnect {
				return &sim.Refusal{Code: code}
			}
			return nil
		}}
	}
	for name, s := range map[string]struct {
		temper  sim.Temper
		prepare func(w *world)
		refused bool
		kind    fault.Kind
	}{
		"disabled device":         {prepare: func(w *world) { w.cloud.DisableDevice(device) }, refused: true, kind: fault.Permanent},
		"deleted device":          {prepare: func(w *world) { w.cloud.DeleteDevice(device) }, refused: true, kind: fault.Permanent},
		"other authority":         {prepare: func(w *world) { w.cloud.CreateDevice(device, sim.Auth{}) }, refused: true, kind: fault.Permanent},
		"expired":                 {prepare: func(*world) { time.Sleep(400 * 24 * time.Hour) }, refused: true, kind: fault.Permanent},
		"expired, refused by TLS": {temper: sim.Temper{RefuseInHandshake: true}, prepare: func(*world) { time.Sleep(400 * 24 * time.Hour) }, refused: true, kind: fault.Permanent},
		"expired, TLS 1.2":        {temper: sim.Temper{RefuseInHandshake: true, TLS12Only: true}, prepare: func(*world) { time.Sleep(400 * 24 * time.Hour) }, refused: true, kind: fault.Permanent},
		"bad credentials":         {temper: connack(4), refused: true, kind: fault.Permanent},
		"server unavailable":      {temper: connack(3), kind: fault.Transient},
		"old protocol":            {temper: connack(1), kind: fault.Permanent},
		"hub offline":             {temper: sim.Temper{Offline: true}, kind: fault.Transient},
		"hub cuts the connect":    {temper: sim.Temper{RefuseConnect: 1}, kind: fault.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, s.temper, func(w *world) {
				if s.prepare != nil {
					s.prepare(w)
				}
				conn, err := w.hub.Dial(w.Context(), w.id)
				if err == nil {
					conn.Close()
				}
				if err == nil || errors.Is(err, telemetry.ErrRefused) != s.refused || fault.Of(err) != s.kind {
					w.Errorf("%v: %v", fault.Of(err), err)
				}
			})
		})
	}
}

func TestNewerSessionEndsTheOlder(t *testing.T) {
	inWorld(t, sim.Temper{}, func(w *world) {
		first := w.dial()
		defer first.Close()
		second := w.dial()
		defer second.Close()
		<-first.Done()
		if n, err := sendEach(second, records(1)); n != 1 || err != nil {
			w.Errorf("%d, %v", n, err)
		}
	})
}

func TestIdleSessionStaysAliveForDays(t *testing.T) {
	for _, d := range []time.Duration{0, 20 * time.Second, time.Hour} {
		inWorld(t, sim.Temper{}, func(w *world) {
			conn := w.dial()
			defer conn.Close()
			time.Sleep(48 * time.Hour)
			if n, err := sendEach(conn, records(1)); n != 1 || err != nil {
				w.Errorf("keep-alive %v: %d, %v", d, n, err)
			}
		}, func(c *Config) { c.KeepAlive = d })
	}
}

func TestUserNameIsAsTheHubWantsIt(t *testing.T) {
	id := &identity.Identity{Grant: identity.Grant{Assignment: identity.Assignment{DeviceID: "dev1", Hub: "myhub.azure-devices.net"}}}
	want := "myhub.azure-devices.net/dev1/?api-version=2025-08-01-preview&DeviceClientType=devid-agent%2F1.0%20%28linux%3B%20arm64%29"
	if got := New(Config{UserAgent: "devid-agent/1.0 (linux; arm64)"}).username(id); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEachByteThatRFC3986DoesNotReserveStaysAsItIs(t *testing.T) {
	const stay = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	for c := range 256 {
		want := fmt.Sprintf("a%%%02Xb", c)
		if strings.IndexByte(stay, byte(c)) >= 0 {
			want = "a" + stay[strings.IndexByte(stay, byte(c)):][:1] + "b"
		}
		if got := escape("a" + string([]byte{byte(c)}) + "b"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
