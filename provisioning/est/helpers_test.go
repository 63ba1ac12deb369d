package est

import (
	"bufio"
	"crypto"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// slowSigner is a chip that takes its time.
type slowSigner struct {
	crypto.Signer
	takes time.Duration
}

func (s slowSigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	time.Sleep(s.takes)
	return s.Signer.Sign(rand, digest, opts)
}

// failingSigner is a chip that does not sign.
type failingSigner struct {
	crypto.Signer
	err error
}

func (f failingSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, f.err }

// proxy is an HTTP proxy that knows CONNECT, and takes everybody to the simulated cloud.
type proxy struct {
	cloud    *sim.Cloud
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	hosts []string
}

func newProxy(t *testing.T, cloud *sim.Cloud) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{cloud: cloud, listener: l}
	p.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); p.running.Wait() })
	return p
}

func (p *proxy) choose(*http.Request) (*url.URL, error) {
	return &url.URL{Scheme: "http", Host: p.listener.Addr().String()}, nil
}

func (p *proxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.hosts)
}

func (p *proxy) serve(conn net.Conn) {
	defer conn.Close()
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	p.mu.Lock()
	p.hosts = append(p.hosts, r.Host)
	p.mu.Unlock()
	far, err := net.Dial("tcp", p.cloud.ESTAddr())
	if err != nil {
		return
	}
	defer far.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() { io.Copy(far, conn); far.Close() })
	both.Go(func() { io.Copy(conn, far); conn.Close() })
	both.Wait()
}

// sha256Only is a chip that hashes by SHA-256 alone, as the smallest TPMs do.
type sha256Only struct{ crypto.Signer }

func (s sha256Only) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 {
		return nil, errors.New("no such hash")
	}
	return s.Signer.Sign(rand, digest, opts)
}
