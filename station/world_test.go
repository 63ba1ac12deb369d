package station_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/devid-agent/devid-agent/hsm/hsmtest"
	"github.com/devid-agent/devid-agent/station"
)

func TestMain(m *testing.M) { hsmtest.Main(m) }

// found makes an authority that has to come about.
func found(t *testing.T, f station.Founding) *station.Authority {
	t.Helper()
	if f.Dir == "" {
		f.Dir = filepath.Join(t.TempDir(), f.Kind)
	}
	if f.Name == "" {
		f.Name = "Test " + f.Kind
	}
	a, err := station.Found(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// supplyChain is the chain of Microsoft's example, from its root to its technician.
func supplyChain(t *testing.T) []*station.Authority {
	t.Helper()
	var all []*station.Authority
	var parent *station.Authority
	for _, kind := range []string{station.Root, station.Company, station.Factory, station.Technician} {
		parent = found(t, station.Founding{Kind: kind, Parent: parent})
		all = append(all, parent)
	}
	return all
}

func technician(t *testing.T) *station.Authority {
	all := supplyChain(t)
	return all[len(all)-1]
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// request is a certificate request for a device, as change makes it.
func request(t testing.TB, key crypto.Signer, change func(*x509.CertificateRequest)) *x509.CertificateRequest {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "gateway-1"}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func named(cn string) func(*x509.CertificateRequest) {
	return func(r *x509.CertificateRequest) { r.Subject.CommonName = cn }
}

// openssl runs the program that a technician has, and that nobody here wrote.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	hsmtest.Require(t, "openssl", "openssl")
	var out bytes.Buffer
	cmd := exec.CommandContext(context.Background(), "openssl", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out.Bytes())
	}
	return out.String()
}

func ext(id []int, value []byte) pkix.Extension { return pkix.Extension{Id: id, Value: value} }
