package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// listening is an MQTT listener that runs until the test ends, or until stop.
type listening struct {
	*MQTT
	addr  net.Addr
	log   *logged
	stop  func()
	ended chan error
}

// listen serves m on a Unix socket, or where m says.
func listen(t testing.TB, m *MQTT) *listening {
	t.Helper()
	if m.Listen == "" {
		m.Listen = filepath.Join(shortDir(t), "mqtt.sock")
	}
	w := &listening{MQTT: m, log: &logged{}, ended: make(chan error, 1)}
	m.Log = slog.New(slog.NewTextHandler(w.log, nil))
	if m.Server.Log == nil {
		m.Server.Log = m.Log
	}
	if err := errors.Join(m.Server.rules().wrong, m.check()); err != nil {
		t.Fatal(err)
	}
	l, err := m.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr()
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.ended <- m.serve(ctx, l)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return w
}

// client is a client made by hand, for what no library would send.
type client struct {
	net.Conn
	t testing.TB
}

func (w *listening) dial(t testing.TB) *client {
	t.Helper()
	c, err := net.Dial(w.addr.Network(), w.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &client{c, t}
}

// connected is a client whose CONNECT was accepted.
func (w *listening) connected(t testing.TB, id string) *client {
	t.Helper()
	c := w.dial(t)
	c.send(hello(id, flagClean, 0))
	c.expect(connack<<4, 2, 0, 0)
	return c
}

func (c *client) send(packets ...[]byte) {
	c.t.Helper()
	for _, p := range packets {
		if _, err := c.Write(p); err != nil {
			c.t.Fatal(err)
		}
	}
}

// expect reads exactly these bytes.
func (c *client) expect(want ...byte) {
	c.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	if err != nil || string(got) != string(want) {
		c.t.Fatalf("the server says % x (%v), want % x", got[:n], err, want)
	}
}

// cutOff waits for the server to hang up, and returns what it said before.
func (c *client) cutOff() []byte {
	c.t.Helper()
	b, err := io.ReadAll(c)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		c.t.Fatalf("the server does not hang up")
	}
	return b
}

// frame is a packet with this first byte and these parts.
func frame(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(appendSize([]byte{first}, len(body)), body...)
}

func str(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func u16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func hello(id string, flags byte, keep uint16, more ...[]byte) []byte {
	parts := append([][]byte{str("MQTT"), {4, flags}, u16(keep), str(id)}, more...)
	return frame(connect<<4, parts...)
}

func message0(topic, payload string) []byte { return frame(publish<<4, str(topic), []byte(payload)) }

func message1(id uint16, topic, payload string) []byte {
	return frame(publish<<4|2, str(topic), u16(id), []byte(payload))
}

func message2(id uint16, topic, payload string) []byte {
	return frame(publish<<4|4, str(topic), u16(id), []byte(payload))
}
