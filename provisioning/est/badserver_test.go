package est

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/sim"
)

// web is a TLS server's certificate and what signed it.
type web struct {
	*testing.T
	rootKey, issuingKey, key crypto.Signer
	root, issuing            *x509.Certificate
}

func newWeb(t *testing.T) *web {
	w := &web{T: t, rootKey: newKey(t, keys.ECDSAP256), issuingKey: newKey(t, keys.ECDSAP256), key: newKey(t, keys.ECDSAP256)}
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	self := ca("Web Root")
	w.root = w.sign(self, self, w.rootKey, w.rootKey)
	w.issuing = w.sign(ca("Web Issuing"), w.root, w.issuingKey, w.rootKey)
	return w
}

func (w *web) sign(template, by *x509.Certificate, key, byKey crypto.Signer) *x509.Certificate {
	w.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), byKey)
	if err != nil {
		w.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.Fatal(err)
	}
	return cert
}

// config is the TLS of a server whose certificate is valid from and to, seen from now.
func (w *web) config(from, to time.Duration, chain ...*x509.Certificate) *tls.Config {
	leaf := w.sign(&x509.Certificate{DNSNames: []string{sim.ESTHost}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)}, w.issuing, w.key, w.issuingKey)
	return &tls.Config{Certificates: []tls.Certificate{identity.Certificate(append([]*x509.Certificate{leaf}, chain...), w.key)}}
}

func TestServersWithBadTLSAreRefusedInWordsThatNameTheCause(t *testing.T) {
	for name, s := range map[string]struct {
		config func(w *web) *tls.Config
		kind   fault.Kind
		words  string
	}{
		"expired":          {func(w *web) *tls.Config { return w.config(-2*time.Hour, -time.Hour, w.issuing) }, fault.Operator, "has expired and its owner must renew"},
		"of tomorrow":      {func(w *web) *tls.Config { return w.config(24*time.Hour, 48*time.Hour, w.issuing) }, fault.Transient, "set the clock"},
		"chain cut off":    {func(w *web) *tls.Config { return w.config(-time.Hour, time.Hour) }, fault.Operator, "provisioning.est.roots"},
		"TLS 1.1 and less": {old, fault.Operator, "RFC 8996"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, sim.ESTTemper{}, func(w *world) {
				server := newWeb(w.T)
				w.config.Roots = x509.NewCertPool()
				w.config.Roots.AddCert(server.root)
				config := s.config(server)
				w.config.Dial = func(context.Context, string, string) (net.Conn, error) {
					near, far := net.Pipe()
					go func() {
						tls.Server(far, config).Handshake()
						far.Close()
					}()
					return near, nil
				}
				_, err := w.issue()
				if text := err.Error() + " | " + fault.Hint(err); fault.Of(err) != s.kind || !strings.Contains(text, s.words) {
					w.Errorf("%v: %s", fault.Of(err), text)
				}
			})
		})
	}
}

func old(w *web) *tls.Config {
	config := w.config(-time.Hour, time.Hour, w.issuing)
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	return config
}
