package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// Program is another program on the gateway, which gives its readings to the agent at a socket.
type Program struct{ client *http.Client }

// NewProgram keeps as many connections as goroutines give readings.
func NewProgram(socket string, goroutines int) *Program {
	return &Program{&http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: goroutines,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Give hands a reading over. Where the error is nil the agent has promised it, under that number; everything else is the
// program's to send again or to give up.
func (p *Program) Give(ctx context.Context, reading []byte) (seq uint64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/v1/telemetry/press", bytes.NewReader(reading))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body) // to its end, or the connection cannot be used again
	if err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, errors.New(response.Status)
	}
	var answer struct{ Seq uint64 }
	err = json.Unmarshal(body, &answer)
	return answer.Seq, err
}

// Close lets the connections go.
func (p *Program) Close() { p.client.CloseIdleConnections() }
