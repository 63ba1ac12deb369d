package tpm

import (
	"os"

	"github.com/devid-agent/devid-agent/internal/durable"
)

// Look opens the directory for reading, beside an agent that may be running: it makes nothing and cleans nothing up.
func Look(c Config) (*Store, error) {
	if _, err := os.Stat(c.Dir); err != nil {
		return nil, durable.Label("open keys", c.Dir, err)
	}
	s, err := open(c, durable.Look(c.Dir))
	if err == nil {
		s.reading = true
	}
	return s, err
}
