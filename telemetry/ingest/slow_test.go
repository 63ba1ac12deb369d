package ingest

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener without a kernel, for a clock that stands still.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error {
	close(p)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestSlowClientIsCutOff(t *testing.T) {
	for name, test := range map[string]struct {
		sends string
		after time.Duration
	}{
		"half a header": {"POST /v1/tele", headerTimeout},
		"half a body":   {"POST /v1/telemetry/b HTTP/1.1\r\nHost: device\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n1", readTimeout},
		"idle":          {"POST /v1/telemetry/b HTTP/1.1\r\nHost: device\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1", idleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Server{Spool: &shelf{}, Log: slog.New(slog.DiscardHandler)}
				server, listener := s.server(), make(pipes)
				go func() { _ = server.Serve(listener) }()
				client, conn := net.Pipe()
				listener <- conn
				begin := time.Now()
				go func() { _, _ = io.WriteString(client, test.sends) }()
				_, _ = io.Copy(io.Discard, client) // ends when the server hangs up
				if took := time.Since(begin); took < test.after || took > test.after+time.Second {
					t.Errorf("cut off after %v, want %v", took, test.after)
				}
				_ = server.Close()
			})
		})
	}
}
