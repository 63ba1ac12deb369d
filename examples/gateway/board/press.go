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
	"strings"
	"time"
)

const (
	socket = "/run/devid-agent/ingest.sock"
	beat   = 100 * time.Millisecond
)

// pace is where whoever wants one writes another beat, as a duration, and perhaps the length of a note that each reading
// carries then. The press reads it at each cycle.
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
		part, verdict := fmt.Sprintf("%s-%d", run, n), "promised"
		rest, note := asked()
		if err := post(client, part, note); err != nil {
			verdict = "refused"
		}
		if _, err := fmt.Fprintln(wire, verdict, part); err != nil {
			return err
		}
		time.Sleep(rest)
	}
}

// asked is the beat, and the length of the note.
func asked() (rest time.Duration, note int) {
	b, _ := os.ReadFile(pace)
	var text string
	_, _ = fmt.Sscan(string(b), &text, &note)
	rest, err := time.ParseDuration(text)
	if err != nil {
		return beat, 0
	}
	return rest, note
}

func post(client *http.Client, part string, note int) error {
	body, err := json.Marshal(map[string]string{"press": "p7", "part": part, "note": strings.Repeat("-", note)})
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
