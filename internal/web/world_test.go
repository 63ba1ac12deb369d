package web

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
)

const host = "web.test"

// world is a client, and a server that can be made to behave badly.
type world struct {
	*testing.T
	rootKey, issuingKey, key crypto.Signer
	root, issuing            *x509.Certificate
	config                   Config
	server                   *tls.Config
	serve                    func(c net.Conn, r *http.Request) // what the server does with a request
	dialled                  []string
	running                  sync.WaitGroup
}

// inWorld runs story in virtual time.
func inWorld(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.config.Dial = w.pipe
		story(w)
		w.running.Wait()
	})
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, rootKey: newKey(t), issuingKey: newKey(t), key: newKey(t)}
	self := authority("Web Root")
	w.root = w.sign(self, self, w.rootKey, w.rootKey)
	w.issuing = w.sign(authority("Web Issuing"), w.root, w.issuingKey, w.rootKey)
	w.server = &tls.Config{Certificates: []tls.Certificate{w.certificate(host, -time.Hour, time.Hour, w.issuing)}}
	w.serve = answer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	w.config = Config{Roots: x509.NewCertPool(), Settings: mtls.Settings{Host: "x.url", Roots: "x.roots"}, Identity: "look after it"}
	w.config.Roots.AddCert(w.root)
	return w
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *world) sign(template, by *x509.Certificate, key, byKey crypto.Signer) *x509.Certificate {
	w.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
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

// certificate is one for name, valid from and to, seen from now, with what follows it in the handshake.
func (w *world) certificate(name string, from, to time.Duration, chain ...*x509.Certificate) tls.Certificate {
	leaf := w.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(from),
		NotAfter: time.Now().Add(to)}, w.issuing, w.key, w.issuingKey)
	c := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: w.key, Leaf: leaf}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}

func (w *world) pipe(_ context.Context, _, address string) (net.Conn, error) {
	w.dialled = append(w.dialled, address)
	near, far := newPipe(&w.running)
	w.running.Go(func() { w.accept(far) })
	return near, nil
}

// accept speaks TLS and hands each request to serve.
func (w *world) accept(raw net.Conn) {
	defer raw.Close()
	conn := tls.Server(raw, w.server)
	if conn.Handshake() != nil {
		return
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if body, err := io.ReadAll(r.Body); err != nil || r.Body.Close() != nil || len(body) > 0 && r.Method == http.MethodGet {
			return
		}
		w.serve(conn, r)
	}
}

// listen is the server on TCP. It returns its address, and serves the name that the client's URL has.
func (w *world) listen() string {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go w.accept(conn)
		}
	}()
	return l.Addr().String()
}

func answer(text string) func(net.Conn, *http.Request) {
	return func(c net.Conn, _ *http.Request) { io.WriteString(c, text) }
}

// ask posts to the server, over a Link of its own.
func (w *world) ask() (*Answer, error) {
	w.Helper()
	l := New(w.config)
	defer l.Close()
	r, err := http.NewRequest(http.MethodPost, "https://"+host+"/api", strings.NewReader("{}"))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer secret")
	return l.Do(w.Context(), r)
}
