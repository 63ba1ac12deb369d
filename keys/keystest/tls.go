package keystest

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/keys"
)

// Authority is a certificate authority that lives as long as a test.
type Authority struct {
	Certificate *x509.Certificate
	Pool        *x509.CertPool
	key         crypto.Signer
}

// NewAuthority is an authority with an ECDSA P-256 key of its own.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	key, err := Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	template := template("test authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a := &Authority{key: key, Pool: x509.NewCertPool()}
	a.Certificate = issue(t, template, template, key.Public(), key)
	a.Pool.AddCert(a.Certificate)
	return a
}

// Certify is a certificate with the common name cn for key, good for both ends of a TLS connection. The key's
// possession is proven by a PKCS#10 request, as every authority of the field demands it.
func (a *Authority) Certify(t testing.TB, cn string, key crypto.Signer) tls.Certificate {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
	if err != nil {
		t.Fatalf("certificate request: %v", err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		t.Fatalf("certificate request: %v", err)
	}
	template := template(request.Subject.CommonName)
	template.DNSNames = []string{cn}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	leaf := issue(t, template, a.Certificate, request.PublicKey, a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.Certificate.Raw}, PrivateKey: key, Leaf: leaf}
}

// Handshake connects as client, with TLS of exactly that version, to a server that demands a certificate of
// the authority; it returns what the server had against it.
func (a *Authority) Handshake(t *testing.T, client tls.Certificate, version uint16) error {
	t.Helper()
	key, err := Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{a.Certify(t, "server", key)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool, MinVersion: version, MaxVersion: version})
	done := make(chan error, 1)
	go func() {
		done <- greet(server)
		far.Close()
	}()
	err = listen(tls.Client(near, &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: a.Pool,
		ServerName: "server", MinVersion: version, MaxVersion: version}))
	near.Close()
	return errors.Join(<-done, err)
}

// greet speaks first, since in TLS 1.3 a client learns only by reading whether its certificate was accepted.
func greet(c *tls.Conn) error {
	if err := c.Handshake(); err != nil {
		return err
	}
	_, err := c.Write([]byte{1})
	return err
}

func listen(c *tls.Conn) error {
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func template(cn string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

func issue(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
