package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	socket = "/run/devid-agent/ingest.sock"
	beat   = 100 * time.Millisecond
)

// pace is another beat, for whoever wants one: the press reads it at each cycle, as a duration.
const pace = "/run/press"

// runPress gives a reading to the agent at each beat, under a name of its own. What is answered with 200 is promised, and
// the host hears of it at once, by a wire of its own: whatever happens to the board a moment later, it was promised.
func runPress() error {
	wire, err := openWire("press")
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	for run, n := rand.Text()[:8], 1; ; n++ {
		part := fmt.Sprintf("%s-%d", run, n)
		verdict := "promised"
		if err := post(client, part); err != nil {
			verdict = "refused"
		}
		if _, err := fmt.Fprintln(wire, verdict, part); err != nil {
			return err
		}
		time.Sleep(rest())
	}
}

func rest() time.Duration {
	if b, err := os.ReadFile(pace); err == nil {
		if d, err := time.ParseDuration(string(bytes.TrimSpace(b))); err == nil {
			return d
		}
	}
	return beat
}

func post(client *http.Client, part string) error {
	body, err := json.Marshal(map[string]string{"press": "p7", "part": part})
	if err != nil {
		return err
	}
	response, err := client.Post("http://agent/v1/telemetry/press", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body) // so that the connection can be used again
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
