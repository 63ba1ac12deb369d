package main

import (
	"fmt"
	"os"
	"sync"

	"github.com/devid-agent/devid-agent/sim"
)

// recorder appends messages to a file. A message is on record before the device hears of it.
type recorder struct {
	mu   sync.Mutex
	file *os.File
	err  error
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
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.file.Write(m.Line()); r.err == nil && err != nil {
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
