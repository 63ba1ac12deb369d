package est

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"

	globalsign "github.com/globalsign/est"

	"github.com/devid-agent/devid-agent/sim"
)

// TestSimulatedServerServesAForeignClient holds the simulated cloud against a client that its authors did not write.
func TestSimulatedServerServesAForeignClient(t *testing.T) {
	for name, temper := range map[string]sim.ESTTemper{"one line": {}, "lines": {Encoding: sim.ESTLines}} {
		cloud, err := sim.Start(t.Context(), sim.Temper{EST: temper}, func(p *sim.Policy) { p.ECDSAServer = true })
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cloud.RootsPEM())
		boot := newKey(t)
		chain, err := cloud.Bootstrap(device, boot.Public(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		client := &globalsign.Client{Host: cloud.ESTAddr(), ExplicitAnchor: roots, Certificates: chain, PrivateKey: boot, AdditionalPathSegment: "plant-7"}
		authorities, err := client.CACerts(t.Context())
		if err != nil || len(authorities) != 2 {
			t.Fatalf("%s: %d authorities, %v", name, len(authorities), err)
		}
		if _, err := client.CSRAttrs(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		client.PrivateKey = boot
		key := newKey(t)
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: device}}, key)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := client.Enroll(t.Context(), csr)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if refused, ok := errors.AsType[globalsign.Error](second(client.Reenroll(t.Context(), csr))); !ok || refused.StatusCode() != 403 {
			t.Errorf("%s: a bootstrap certificate renews: %v", name, refused)
		}
		client.Certificates, client.PrivateKey = append([]*x509.Certificate{leaf}, authorities...), key
		if _, err := client.Reenroll(t.Context(), csr); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ *x509.Certificate, err error) error { return err }
