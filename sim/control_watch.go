package sim

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// messageLine is a telemetry message as people and scripts read it.
type messageLine struct {
	Time       time.Time         `json:"time"`
	Device     string            `json:"device"`
	Stream     string            `json:"stream,omitempty"`
	Seq        json.Number       `json:"seq,omitempty"`
	Session    uint64            `json:"session"`
	DUP        bool              `json:"dup,omitempty"`
	Properties map[string]string `json:"properties"`
	Body       json.RawMessage   `json:"body,omitempty"`   // where it is JSON
	Bytes      []byte            `json:"base64,omitempty"` // else
}

// Line is the message as one line of JSON, with its end.
func (m Message) Line() []byte {
	l := messageLine{Time: m.Time, Device: m.Device, Stream: m.Properties["stream"], Session: m.Session, DUP: m.DUP, Properties: m.Properties}
	if n := m.Properties["seq"]; n != "" {
		if i, err := strconv.ParseInt(n, 10, 64); err == nil {
			l.Seq = json.Number(strconv.FormatInt(i, 10))
		}
	}
	if json.Valid(m.Body) {
		l.Body = m.Body
	} else {
		l.Bytes = m.Body
	}
	return append(marshal(l), '\n')
}

// eventLine is an event likewise.
type eventLine struct {
	N       int       `json:"n"` // of all, from 1
	Time    time.Time `json:"time"`
	Service string    `json:"service"`
	Kind    Kind      `json:"kind"`
	Device  string    `json:"device,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

// streamReceived writes telemetry messages, one JSON object a line: of one device with ?device=, those to come too with
// ?follow=true.
func (c *Cloud) streamReceived(w http.ResponseWriter, r *http.Request) {
	device := r.URL.Query().Get("device")
	c.stream(w, r, func(after int) (lines [][]byte, next int) {
		messages, next := c.messagesAfter(after)
		for _, m := range messages {
			if device == "" || m.Device == device {
				lines = append(lines, m.Line())
			}
		}
		return lines, next
	})
}

// streamEvents does so with events.
func (c *Cloud) streamEvents(w http.ResponseWriter, r *http.Request) {
	device := r.URL.Query().Get("device")
	c.stream(w, r, func(after int) (lines [][]byte, next int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		lost := c.journal.lostEvents
		for i, e := range c.journal.events[max(0, min(after-lost, len(c.journal.events))):] {
			if device == "" || e.Device == device {
				n := max(after, lost) + i + 1
				lines = append(lines, append(marshal(eventLine{n, e.Time, e.Service, e.Kind, e.Device, e.Detail}), '\n'))
			}
		}
		return lines, lost + len(c.journal.events)
	})
}

// messagesAfter returns the telemetry messages on record behind the first n that there ever were, in the order in which
// they arrived, and how many there are now.
func (c *Cloud) messagesAfter(n int) (messages []Message, next int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := &c.journal
	behind := map[string]int{} // how many of a device come after this one
	for i := len(j.order) - 1; i >= max(0, n-j.lostMessages); i-- {
		device := j.order[i]
		behind[device]++
		all := j.received[device]
		messages = append(messages, all[len(all)-behind[device]])
	}
	slices.Reverse(messages)
	return messages, j.lostMessages + len(j.order)
}

// stream writes lines until there are no more or, with ?follow=true, until the client goes. ?after=N leaves the first N
// out.
func (c *Cloud) stream(w http.ResponseWriter, r *http.Request, lines func(after int) ([][]byte, int)) {
	q := r.URL.Query()
	follow := q.Get("follow") == "true"
	at := 0
	if text := q.Get("after"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			respondJSON(w, http.StatusBadRequest, controlError{Error: "after is no number"})
			return
		}
		at = n
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	for {
		some, next := lines(at)
		at = max(at, next)
		for _, line := range some {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
		if http.NewResponseController(w).Flush() != nil || !follow || c.until(r.Context(), at, lines) != nil {
			return
		}
	}
}

// until returns when there are new lines.
func (c *Cloud) until(ctx context.Context, at int, lines func(after int) ([][]byte, int)) error {
	return c.Wait(ctx, func() bool {
		_, next := lines(at)
		return next > at
	})
}
