package tpm_test

import (
	"crypto"
	"crypto/rand"
	"encoding/binary"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// way is a key of the store, and the bare link to the TPM that holds a loaded key of that kind at a handle.
type way func(*testing.B, *tpmtest.TPM, keys.Algorithm) (crypto.Signer, transport.TPM, tpm2.TPMHandle)

var ways = map[string]way{"device": byDevice, "persistent": byHandle, "file": byFile}

// BenchmarkSign holds a signature by the store against the bare TPM2_Sign for a key that is loaded already, over the
// same link and in turns, so that what else the machine does hits both. The TPM here is software, and 10 to 100 times
// as fast as a chip: what the store adds weighs that much more than it will. The ways are those of the three places
// of a key: behind a resource manager (device), at a persistent handle, and loaded for each signature (file).
func BenchmarkSign(b *testing.B) {
	for _, a := range keys.Algorithms {
		for name, way := range ways {
			b.Run(string(a)+"/"+name, func(b *testing.B) {
				p := tpmtest.Start(b)
				key, link, handle := way(b, p, a)
				compare(b, key, link, bareSign(a, handle))
			})
		}
	}
}

// BenchmarkSignAtTheSpeedOfAChip is the same with signatures of 100 ms, which is a fast chip's time. Chips are always
// behind a resource manager, so that of a file's key is the device's way.
func BenchmarkSignAtTheSpeedOfAChip(b *testing.B) {
	for name, way := range ways {
		b.Run(name, func(b *testing.B) {
			p := tpmtest.Start(b)
			key, link, handle := way(b, p, keys.ECDSAP256)
			p.Slow(100 * time.Millisecond)
			compare(b, key, link, bareSign(keys.ECDSAP256, handle))
		})
	}
}

func compare(b *testing.B, key crypto.Signer, link transport.TPM, bare []byte) {
	digest := make([]byte, 32)
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := key.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
			b.Fatal(err)
		}
		between := time.Now()
		answer, err := link.Send(bare)
		if err != nil || binary.BigEndian.Uint32(answer[6:]) != 0 {
			b.Fatalf("% x, %v", answer, err)
		}
		ours += between.Sub(start)
		theirs += time.Since(between)
	}
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "store-us/op")
	b.ReportMetric(float64(theirs.Microseconds())/float64(b.N), "bare-us/op")
	b.ReportMetric(100*(float64(ours)/float64(theirs)-1), "overhead-%")
}

func benchStore(b *testing.B, c tpm.Config) crypto.Signer {
	b.Helper()
	c.Dir = b.TempDir()
	s, err := tpm.Open(c)
	if err != nil {
		b.Fatal(err)
	}
	key, err := s.Create(b.Context(), "device-g1")
	if err != nil {
		b.Fatal(err)
	}
	return key
}

func byDevice(b *testing.B, p *tpmtest.TPM, a keys.Algorithm) (crypto.Signer, transport.TPM, tpm2.TPMHandle) {
	master, path := terminal(b)
	go answer(p, master, new(atomic.Bool), new(atomic.Int64))
	key := benchStore(b, tpm.Config{TCTI: "device:" + path, Algorithm: a})
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = file.Close() })
	return key, transport.FromReadWriter(whole{file}), tpm2.TPMHandle(p.Loaded()[0]) // the store's own: it leaves the key loaded
}

// whole reads one answer at a time from a terminal, which gives as much as there is.
type whole struct{ *os.File }

func (w whole) Read(p []byte) (int, error) {
	if _, err := io.ReadFull(w.File, p[:10]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint32(p[2:]))
	_, err := io.ReadFull(w.File, p[10:n])
	return n, err
}

func byHandle(b *testing.B, p *tpmtest.TPM, a keys.Algorithm) (crypto.Signer, transport.TPM, tpm2.TPMHandle) {
	key := benchStore(b, tpm.Config{TCTI: p.TCTI(), Algorithm: a, Persistent: firstHandle})
	return key, p.Relayed(), firstHandle
}

// byFile holds the store against a key that somebody else keeps loaded.
func byFile(b *testing.B, p *tpmtest.TPM, a keys.Algorithm) (crypto.Signer, transport.TPM, tpm2.TPMHandle) {
	_, link, handle := byHandle(b, p, a)
	return benchStore(b, tpm.Config{TCTI: p.TCTI(), Algorithm: a}), link, handle
}

// bareSign is the TPM2_Sign of 32 zeros, as bytes.
func bareSign(a keys.Algorithm, handle tpm2.TPMHandle) []byte {
	scheme, hash := tpm2.TPMAlgECDSA, tpm2.TPMAlgSHA256
	if a == keys.RSA2048 || a == keys.RSA3072 {
		scheme = tpm2.TPMAlgRSASSA
	}
	var command recorded
	_, _ = tpm2.Sign{KeyHandle: tpm2.AuthHandle{Handle: handle, Name: tpm2.HandleName(handle), Auth: tpm2.PasswordAuth(nil)},
		Digest:     tpm2.TPM2BDigest{Buffer: make([]byte, 32)},
		InScheme:   tpm2.TPMTSigScheme{Scheme: scheme, Details: tpm2.NewTPMUSigScheme(scheme, &tpm2.TPMSSchemeHash{HashAlg: hash})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull}}.Execute(&command)
	return command
}

// recorded takes a command and answers with nothing.
type recorded []byte

func (r *recorded) Send(command []byte) ([]byte, error) {
	*r = command
	return nil, io.EOF
}
