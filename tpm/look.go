package tpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/internal/durable"
)

// Look opens the directory for reading, beside an agent that may be running: it makes nothing and cleans nothing up. A
// directory that is not there yet holds no keys.
func Look(c Config) (*Store, error) {
	if _, err := os.Stat(c.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, durable.Label("open keys", c.Dir, err)
	}
	s, err := open(c, durable.Look(c.Dir))
	if err == nil {
		s.reading = true
	}
	return s, err
}

// Ping says what is wrong with the TPM, or nil.
func (s *Store) Ping(ctx context.Context) error {
	err := s.operate(ctx, func(t *session) error {
		_, err := properties(t, tpm2.TPMPTManufacturer, tpm2.TPMPTFirmwareVersion1)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask the TPM: %w", err)
	}
	return nil
}
