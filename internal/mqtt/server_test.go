package mqtt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	a.cert = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}, a.key)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	issuer := a.cert
	if issuer == nil {
		issuer = template
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for name, good for server and client, from notBefore on for a day.
func (a *authority) issue(t testing.TB, name string, notBefore time.Time) tls.Certificate {
	t.Helper()
	key := newKey(t)
	leaf := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		NotBefore:   notBefore, NotAfter: notBefore.Add(24 * time.Hour),
	}, key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// writePEM puts a certificate and its key into files, as a broker reads them.
func writePEM(t testing.TB, cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(certFile, chain, 0o644); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}

// peer is the server's end of a connection, driven byte by byte by a test.
type peer struct {
	net.Conn
	in *bufio.Reader
}

// read returns the next packet of the client: its type, and what follows the fixed header.
func (p *peer) read() (kind byte, body []byte, err error) {
	head, length, err := header(p.in, nil)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, length)
	_, err = io.ReadFull(p.in, body)
	return head[0] >> 4, body, err
}

func (p *peer) send(packet ...byte) { _, _ = p.Write(packet) }

// accept answers the CONNECT.
func (p *peer) accept() {
	if kind, _, err := p.read(); err == nil && kind == 1 {
		p.send(connack<<4, 2, 0, 0)
	}
}

// obey answers everything that the client sends, until it goes.
func (p *peer) obey() {
	for {
		kind, body, err := p.read()
		if err != nil {
			return
		}
		switch kind {
		case publish:
			topic := int(body[0])<<8 | int(body[1])
			p.send(puback<<4, 2, body[topic+2], body[topic+3])
		case subscribe:
			p.send(suback<<4, 3, body[0], body[1], 1)
		case 12: // PINGREQ
			p.send(pingresp<<4, 0)
		}
	}
}

// world is a server in memory, and a client's options to reach it.
type world struct {
	ca     *authority
	server *tls.Config
	Options
}

func newWorld(t testing.TB, serve func(p *peer)) *world {
	t.Helper()
	w := &world{ca: newAuthority(t, "ca")}
	w.server = &tls.Config{
		Certificates: []tls.Certificate{w.ca.issue(t, "hub.test", time.Now().Add(-time.Hour))},
		ClientAuth:   tls.RequestClientCert,
	}
	w.Options = Options{
		Host: "hub.test", ClientID: "dev", Username: "hub.test/dev", Roots: w.ca.pool(),
		Certificate: w.ca.issue(t, "dev", time.Now().Add(-time.Hour)),
	}
	w.Dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			end := newRoomy(there)
			defer end.Close()
			if secure := w.accept(tls.Server(end, w.server)); secure != nil {
				serve(&peer{secure, bufio.NewReader(secure)})
			}
		}()
		return here, nil
	}
	return w
}

// today has the server show a certificate of this day to each client: here they last for one.
func (w *world) today(t testing.TB) {
	w.server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		config := w.server.Clone()
		config.Certificates = []tls.Certificate{w.ca.issue(t, "hub.test", time.Now().Add(-time.Hour))}
		return config, nil
	}
}

func (w *world) dial(t testing.TB) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), w.Options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stuck dials a peer that takes everything and never says a word.
func (w *world) stuck(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		_, _ = io.Copy(io.Discard, there)
	}()
	return here, nil
}

// roomy is an end of a pipe that takes what is written at once, as a socket does: both ends of a resumed TLS 1.3 session
// write first. Its Close lets what was written through before.
type roomy struct {
	net.Conn
	out  chan []byte
	once sync.Once
	gone chan struct{}
}

func newRoomy(c net.Conn) *roomy {
	r := &roomy{Conn: c, out: make(chan []byte, 256), gone: make(chan struct{})}
	go func() {
		defer c.Close()
		for {
			select {
			case p := <-r.out:
				_, _ = c.Write(p)
			case <-r.gone:
				for len(r.out) > 0 {
					_, _ = c.Write(<-r.out)
				}
				return
			}
		}
	}()
	return r
}

func (r *roomy) Write(p []byte) (int, error) {
	select {
	case r.out <- bytes.Clone(p):
		return len(p), nil
	case <-r.gone:
		return 0, net.ErrClosed
	}
}

func (r *roomy) Close() error {
	r.once.Do(func() { close(r.gone) })
	return nil
}
