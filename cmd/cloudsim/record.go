package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// recorder appends messages to a file. A message is on record before the device hears of it.
type recorder struct {
	mu   sync.Mutex
	file *os.File
	err  error
}

type line struct {
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

func openRecorder(name string) (*recorder, error) {
	if name == "" {
		return &recorder{}, nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &recorder{file: f}, nil
}

func (r *recorder) write(m sim.Message) {
	if r.file == nil {
		return
	}
	l := line{Time: m.Time, Device: m.Device, Stream: m.Properties["stream"], Session: m.Session, DUP: m.DUP, Properties: m.Properties}
	if n := json.Number(m.Properties["seq"]); n != "" {
		if _, err := n.Int64(); err == nil {
			l.Seq = n
		}
	}
	if json.Valid(m.Body) {
		l.Body = m.Body
	} else {
		l.Bytes = m.Body
	}
	b, err := json.Marshal(l)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		_, err = r.file.Write(append(b, '\n'))
	}
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("record: %w", err)
	}
}

// close returns the first thing that went wrong.
func (r *recorder) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	return err
}
