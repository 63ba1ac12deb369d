package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"testing"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// The TPM here is software: what is measured is what we add to a chip's own time.
func BenchmarkSign(b *testing.B) {
	for _, a := range keys.Algorithms {
		b.Run(string(a), func(b *testing.B) {
			s, err := tpm.Open(tpm.Config{TCTI: tpmtest.Start(b).TCTI(), Dir: b.TempDir(), Algorithm: a})
			if err != nil {
				b.Fatal(err)
			}
			key, err := s.Create(b.Context(), "device-g1")
			if err != nil {
				b.Fatal(err)
			}
			digest := bytes.Repeat([]byte{1}, 32)
			for b.Loop() {
				if _, err := key.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
