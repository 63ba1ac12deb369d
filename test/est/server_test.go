package est

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// authority is a CA of the test's own.
type authority struct {
	*testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	a := &authority{T: t, key: newKey(t)}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	if parent == nil {
		parent = &authority{t, template, a.key}
	}
	a.cert = parent.certify(template, a.key.Public())
	return a
}

func (a *authority) certify(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	a.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return cert
}

// client is a certificate for a device.
func (a *authority) client(name string) tls.Certificate {
	a.Helper()
	key := newKey(a.T)
	leaf := a.certify(&x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// estserver is GlobalSign's server, as its own program with its own CA.
type estserver struct {
	url                    string
	web, root, ca, factory *authority
}

func newAuthorities(t *testing.T) *estserver {
	t.Helper()
	s := &estserver{web: newAuthority(t, "Web Root", nil), root: newAuthority(t, "EST Root", nil), factory: newAuthority(t, "Factory Root", nil)}
	s.ca = newAuthority(t, "EST Issuing CA", s.root)
	return s
}

func start(t *testing.T) *estserver {
	t.Helper()
	s := newAuthorities(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "estserver")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/globalsign/est/cmd/estserver").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	address := freeAddress(t)
	s.run(t, dir, program, address)
	s.url = "https://" + address
	return s
}

// run starts the program and returns once it accepts connections.
func (s *estserver) run(t *testing.T, dir, program, address string) {
	t.Helper()
	webKey := newKey(t)
	web := s.web.certify(&x509.Certificate{Subject: pkix.Name{CommonName: "est"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, webKey.Public())
	config := map[string]any{
		"mock_ca": map[string]any{"certificates": put(t, dir, "ca.pem", nil, s.ca.cert, s.root.cert), "private_key": put(t, dir, "ca.key", s.ca.key)},
		"tls": map[string]any{"listen_address": address, "certificates": put(t, dir, "web.pem", nil, web), "private_key": put(t, dir, "web.key", webKey),
			"client_cas": []string{put(t, dir, "factory.pem", nil, s.factory.cert), put(t, dir, "root.pem", nil, s.root.cert)}},
		"log_file": filepath.Join(dir, "log"), "timeout": 30, "rate_limit": 1000,
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-config", file)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	awaitListener(t, address)
}

func awaitListener(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("estserver does not listen: %v", err)
		}
	}
}

// freeAddress is one that was free a moment ago: the program takes no listener.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// put writes certificates or a key to a PEM file.
func put(t *testing.T, dir, name string, key crypto.Signer, certs ...*x509.Certificate) string {
	t.Helper()
	var text []byte
	for _, x := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw})...)
	}
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
