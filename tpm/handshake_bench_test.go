package tpm_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// BenchmarkHandshake holds a TLS 1.3 handshake with client authentication by a key in the TPM against the same with a
// software key, in turns, and says how many of the TPM's signatures the difference is: one.
func BenchmarkHandshake(b *testing.B) {
	for name, slow := range map[string]time.Duration{"swtpm": 0, "chip": 100 * time.Millisecond} {
		b.Run(name, func(b *testing.B) {
			p := tpmtest.Start(b)
			hard := benchStore(b, tpm.Config{TCTI: p.TCTI(), Algorithm: keys.ECDSAP256})
			soft, err := keystest.Generate(keys.ECDSAP256)
			if err != nil {
				b.Fatal(err)
			}
			ca := keystest.NewAuthority(b)
			server := ca.Certify(b, "hub", soft)
			hardCert, softCert := ca.Certify(b, "device", hard), ca.Certify(b, "device", soft)
			p.Slow(slow)
			var withTPM, withSoftware, signature time.Duration
			for b.Loop() {
				withTPM += took(b, func() error { return handshake(ca, server, hardCert) })
				withSoftware += took(b, func() error { return handshake(ca, server, softCert) })
				signature += took(b, func() error {
					_, err := hard.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
					return err
				})
			}
			b.ReportMetric(float64(withTPM.Microseconds())/float64(b.N), "tpm-us/op")
			b.ReportMetric(float64(withSoftware.Microseconds())/float64(b.N), "software-us/op")
			b.ReportMetric(float64(signature.Microseconds())/float64(b.N), "signature-us/op")
			b.ReportMetric(float64(withTPM-withSoftware)/float64(signature), "signatures-of-difference")
		})
	}
}

func took(b *testing.B, work func() error) time.Duration {
	start := time.Now()
	if err := work(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func handshake(ca *keystest.Authority, server, client tls.Certificate) error {
	near, far := net.Pipe()
	defer near.Close()
	served := make(chan error, 1)
	go func() {
		defer far.Close()
		s := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool, SessionTicketsDisabled: true})
		served <- s.Handshake()
	}()
	c := tls.Client(near, &tls.Config{ServerName: "hub", RootCAs: ca.Pool, Certificates: []tls.Certificate{client}})
	if err := c.Handshake(); err != nil {
		return err
	}
	return <-served
}
