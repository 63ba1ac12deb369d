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

	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

func TestMain(m *testing.M) { hsmtest.Main(m) }

// Each round signs through the helper, which verifies, with crypto11 in this process, which does not, and
// with crypto11 and a verification. The ratio to the second is what it costs not to trust the module; that to
// the third, what it costs not to have it in the agent.
func BenchmarkSign(b *testing.B) {
	for _, a := range []keys.Algorithm{keys.ECDSAP256, keys.RSA2048} {
		for speed, habit := range map[string]string{"softhsm": "", "5ms": "SLOW=5000"} {
			b.Run(string(a)+"/"+speed, func(b *testing.B) {
				bad, token := hsmtest.Hostile(b, habit)
				if habit != "" {
					token = bad.Token
				}
				helper, direct := both(b, token, a)
				compare(b, helper, direct)
			})
		}
	}
}

func both(b *testing.B, token *hsmtest.Token, a keys.Algorithm) (helper, direct crypto.Signer) {
	b.Helper()
	c := token.Config()
	c.Algorithm = a
	helper, err := token.Open(b, c).Create(b.Context(), "device-g1")
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
	return helper, direct
}

func compare(b *testing.B, helper, direct crypto.Signer) {
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
