package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// piped serves one client without a kernel, for a clock that stands still.
func piped(t *testing.T, m *MQTT) (c *client, log *logged, ended chan struct{}) {
	t.Helper()
	log, ended = &logged{}, make(chan struct{})
	m.Log = slog.New(slog.NewTextHandler(log, nil))
	m.Server.Log = m.Log
	m.Server.rules()
	far, conn := net.Pipe()
	s := newSession(m, conn)
	m.enter(s)
	go func() {
		defer close(ended)
		defer m.leave(s)
		s.serve(t.Context(), t.Context())
	}()
	return &client{far, t}, log, ended
}

func TestSilentOrSlowMQTTClientIsCutOff(t *testing.T) {
	const keep = 20
	for name, test := range map[string]struct {
		sends string
		after time.Duration
	}{
		"silence":            {"", headerTimeout},
		"half a CONNECT":     {"\x10", readTimeout},
		"CONNECT cut off":    {"\x10\x20\x00\x04MQ", readTimeout},
		"beyond keep alive":  {string(hello("a", flagClean, keep)), keep * 3 / 2 * time.Second},
		"half a PUBLISH":     {string(hello("a", flagClean, keep)) + "\x32\x20\x00\x01", readTimeout},
		"half a length":      {string(hello("a", flagClean, keep)) + "\x32\x80", readTimeout},
		"PINGREQ in between": {string(hello("a", flagClean, keep)) + "\xc0\x00", keep * 3 / 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shelf := &shelf{}
				c, _, ended := piped(t, &MQTT{Server: &Server{Spool: shelf}})
				begin := time.Now()
				go func() { _, _ = io.WriteString(c, test.sends) }()
				_, _ = io.Copy(io.Discard, c)
				<-ended
				if took := time.Since(begin); took < test.after || took > test.after+time.Second {
					t.Errorf("cut off after %v, want %v", took, test.after)
				}
				if len(shelf.all()) > 0 {
					t.Errorf("stored %v", shelf.all())
				}
			})
		})
	}
}

func TestClientWithoutKeepAliveMayBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, ended := piped(t, &MQTT{Server: &Server{Spool: &shelf{}}})
		c.send(hello("a", flagClean, 0))
		c.expect(connack<<4, 2, 0, 0)
		time.Sleep(24 * time.Hour)
		c.send([]byte{pingreq << 4, 0})
		c.expect(pingresp<<4, 0)
		_ = c.Close()
		<-ended
	})
}

func TestClientThatReadsNoAnswersIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		c, _, ended := piped(t, &MQTT{Server: &Server{Spool: shelf}})
		c.send(hello("a", flagClean, 0))
		c.expect(connack<<4, 2, 0, 0)
		begin := time.Now()
		c.send(message1(1, "boiler", "1"))
		<-ended
		if took := time.Since(begin); took != readTimeout || len(shelf.all()) != 1 {
			t.Errorf("cut off after %v with %v", took, shelf.all())
		}
	})
}

func TestClientIsCutOffWhenTheSpoolStaysFullAndNothingIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log, ended := piped(t, &MQTT{Server: &Server{Spool: &lanes{full: "boiler", kept: map[string]int{}}}})
		c.send(hello("a", flagClean, 0))
		c.expect(connack<<4, 2, 0, 0)
		begin := time.Now()
		c.send(message1(1, "boiler", "1"))
		if said, _ := io.ReadAll(c); len(said) > 0 {
			t.Errorf("the server says % x", said)
		}
		<-ended
		if took := time.Since(begin); took < longRetry-mostRetry || took > longRetry {
			t.Errorf("cut off after %v", took)
		}
		if said := log.String(); strings.Count(said, "a client is cut off") != 1 || !strings.Contains(said, "the spool is full") {
			t.Errorf("logged %s", said)
		}
	})
}

func TestNothingMoreIsReadWhileTheWindowIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{enter: make(chan struct{}), door: make(chan struct{})}
		m := &MQTT{Server: &Server{Spool: shelf}}
		c, _, ended := piped(t, m)
		c.send(hello("a", flagClean, 0))
		c.expect(connack<<4, 2, 0, 0)
		sent := 0
		go func() {
			for ; ; sent++ {
				if _, err := c.Write(message1(uint16(sent+1), "boiler", strings.Repeat("1", 4<<10))); err != nil {
					return
				}
			}
		}()
		<-shelf.enter
		synctest.Wait() // until nobody can go on
		if most := 2*windowBytes/(4<<10) + 4; sent < 32 || sent > most {
			t.Errorf("%d messages of 4 KiB were taken from a client who may have twice %d KiB on the way", sent, windowBytes>>10)
		}
		_ = c.Close()
		close(shelf.door)
		go func() {
			for range shelf.enter {
				continue
			}
		}()
		<-ended
		close(shelf.enter)
		if m.Server.gate.hand.held != 0 {
			t.Errorf("%d bytes are still held", m.Server.gate.hand.held)
		}
	})
}

func TestQuotaSlowsAnMQTTClientDownAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := &shelf{}
		c, _, ended := piped(t, &MQTT{Server: &Server{Spool: shelf, Quota: Quota{Readings: 60}}})
		c.send(hello("a", flagClean, 0))
		c.expect(connack<<4, 2, 0, 0)
		begin := time.Now()
		go func() {
			for id := range uint16(90) {
				_, _ = c.Write(message1(id+1, "boiler", "1"))
			}
		}()
		answers := make([]byte, 4*90)
		if _, err := io.ReadFull(c, answers); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 29*time.Second || took > 32*time.Second || len(shelf.all()) != 90 {
			t.Errorf("%d readings in %v, want 90 in 30 s", len(shelf.all()), took)
		}
		_ = c.Close()
		<-ended
	})
}

func TestComplaintsOfOneKindAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logged{}
		m := &MQTT{Log: slog.New(slog.NewTextHandler(log, nil))}
		for range 100 {
			m.complain(peer{}, errMalformed)
			time.Sleep(time.Second)
		}
		m.complain(peer{}, errNoPassword)
		time.Sleep(silence)
		m.complain(peer{}, errNoPassword)
		if n := strings.Count(log.String(), "\n"); n != 3 {
			t.Errorf("%d lines:\n%s", n, log)
		}
	})
}

// FuzzSession sends anything behind a CONNECT: the session ends, what it stored is a reading, what it said is MQTT, and
// nothing stays held.
func FuzzSession(f *testing.F) {
	for _, b := range [][]byte{
		message0("boiler", "1"), message1(1, "boiler", "{}"), message2(1, "te/device/main///m/x", "on"), frame(pubrel<<4|2, u16(1)),
		frame(subscribe<<4|2, u16(1), str("#"), []byte{1}), frame(unsubscribe<<4|2, u16(1), str("#")), {pingreq << 4, 0}, {disconnect << 4, 0},
		message1(1, "a b", "1"), {publish << 4, 0xff, 0xff, 0xff, 0xff}, {0x32, 0xff, 0xff, 0xff, 0x7f}, hello("b", 0, 0),
	} {
		f.Add(append(hello("a", flagClean, 60), b...))
		f.Add(append(hello("a", flagClean|flagWill, 60, str("w"), str("gone")), append(b, b...)...))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		shelf := &shelf{}
		m := &MQTT{Server: &Server{Spool: shelf, Log: slog.New(slog.DiscardHandler)}, Log: slog.New(slog.DiscardHandler)}
		m.Server.rules()
		conn := &canned{in: *bytes.NewReader(sent)}
		s := newSession(m, conn)
		m.enter(s)
		s.serve(context.Background(), context.Background())
		m.leave(s)
		for i, r := range shelf.all() {
			if stream, _, _ := strings.Cut(r, " "); !spool.ValidStream(stream) {
				t.Errorf("stored %q as %q", r, shelf.kind(i))
			}
		}
		if held := m.Server.gate.hand.held; held != 0 {
			t.Errorf("%d bytes are still held", held)
		}
		if err := answers(conn.out.Bytes()); err != nil {
			t.Errorf("the server says % x: %v", conn.out.Bytes(), err)
		}
	})
}

// answers says what is wrong with a server's packets.
func answers(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) || b[1] > 127 {
			return io.ErrUnexpectedEOF
		}
		switch kind, size := b[0]>>4, int(b[1]); {
		case b[0]&15 != 0:
			return errors.New("flags")
		case kind == pingresp && size == 0, kind == suback && size > 2, size == 2 && (kind == connack || kind == puback || kind == pubrec || kind == pubcomp || kind == unsuback):
		default:
			return fmt.Errorf("type %d with %d bytes", kind, size)
		}
		b = b[2+int(b[1]):]
	}
	return nil
}

// canned is a client that has said all it will, and listens.
type canned struct {
	net.Conn
	in  bytes.Reader
	out bytes.Buffer
}

func (c *canned) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *canned) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) Close() error                     { return nil }
