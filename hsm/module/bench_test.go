//go:build cgo

package module_test

import (
	"crypto"
	"crypto/rand"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ThalesGroup/crypto11"

	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

func TestMain(m *testing.M) { hsmtest.Main(m) }

// Each round signs through the helper, whose signatures are verified before or soon after they are returned, with
// crypto11 in this process, which verifies none, and with crypto11 and a verification. The ratio to the second is what
// it costs to have the module in a process of its own and to verify; that to the third is below 1 where verifying
// overlaps with signing. The first eight of each helper are measured apart: they are verified before they are returned.
func BenchmarkSign(b *testing.B) {
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.RSA2048} {
		for speed, habit := range map[string]string{"softhsm": "", "5ms": "SLOW=5000"} {
			b.Run(string(a)+"/"+speed, func(b *testing.B) {
				bad, token := hsmtest.Hostile(b, habit)
				if habit != "" {
					token = bad.Token
				}
				store, helper, direct := both(b, token, a)
				first := eights(b, store, helper)
				bare := compare(b, helper, direct)
				b.ReportMetric(p50(first), "µs-first8")
				b.ReportMetric(p50(first)/bare, "×bare-first8")
			})
		}
	}
}

func both(b *testing.B, token *hsmtest.Token, a keys.Algorithm) (store *hsm.Store, helper, direct crypto.Signer) {
	b.Helper()
	c := token.Config()
	c.Algorithm = a
	store = token.Open(b, c)
	helper, err := store.Create(b.Context(), "device-g1")
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range token.Env {
		name, value, _ := strings.Cut(v, "=")
		b.Setenv(name, value)
	}
	pin, err := os.ReadFile(token.PINFile)
	if err != nil {
		b.Fatal(err)
	}
	context, err := crypto11.Configure(&crypto11.Config{Path: token.Module, TokenLabel: "devid test", Pin: strings.TrimSpace(string(pin))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = context.Close() })
	direct, err = context.FindKeyPair(nil, []byte("devid-agent:device-g1"))
	if err != nil {
		b.Fatal(err)
	}
	return store, helper, direct
}

// eights are the first eight signatures of some helpers, without the very first, which starts the helper.
func eights(b *testing.B, store *hsm.Store, helper crypto.Signer) (all []time.Duration) {
	b.Helper()
	for range 5 {
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
		sign(b, helper, false)
		for range 7 {
			all = append(all, sign(b, helper, false))
		}
	}
	return all
}

// compare returns the median of the bare signature in microseconds.
func compare(b *testing.B, helper, direct crypto.Signer) float64 {
	b.Helper()
	var through, bare, verified []time.Duration
	for b.Loop() {
		for range 20 { // in a row, as each would be alone: a processor that slept takes longer
			through = append(through, sign(b, helper, false))
		}
		for range 20 {
			bare = append(bare, sign(b, direct, false))
		}
		for range 20 {
			verified = append(verified, sign(b, direct, true))
		}
	}
	b.ReportMetric(p50(through), "µs-helper")
	b.ReportMetric(p50(bare), "µs-bare")
	b.ReportMetric(p50(verified), "µs-verified")
	b.ReportMetric(p50(through)/p50(bare), "×bare")
	b.ReportMetric(p50(through)/p50(verified), "×verified")
	b.ReportMetric(0, "ns/op")
	return p50(bare)
}

func p50(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Nanoseconds()) / 1000
}

func sign(b *testing.B, key crypto.Signer, verify bool) time.Duration {
	b.Helper()
	start, digest := time.Now(), make([]byte, 32)
	signature, err := key.Sign(rand.Reader, digest, crypto.SHA256)
	if err == nil && verify {
		err = keystest.CheckSignature(key.Public(), digest, signature, crypto.SHA256)
	}
	if err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
