package main

import (
	"crypto/sha1"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// throughProxy is an HTTP proxy that wants a password, and remembers where people went.
type throughProxy struct {
	address string

	mu    sync.Mutex
	went  []string
	flows sync.WaitGroup
}

func startProxy(t *testing.T) *throughProxy {
	t.Helper()
	p := &throughProxy{}
	server := httptest.NewServer(p)
	p.address = server.Listener.Addr().String()
	t.Cleanup(server.Close)
	return p
}

func (p *throughProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if want := "Basic bGluZTpzM2NyZXQ="; r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != want {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	p.mu.Lock()
	p.went = append(p.went, r.Host)
	p.mu.Unlock()
	out, err := net.Dial("tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer out.Close()
	w.WriteHeader(http.StatusOK)
	in, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	p.flows.Go(func() { _, _ = io.Copy(out, in); out.Close() })
	_, _ = io.Copy(in, out)
}

func (p *throughProxy) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.went)
}

func (p *throughProxy) saw(address string) (times int) {
	for _, a := range p.log() {
		if a == address {
			times++
		}
	}
	return times
}

// thumbprint is what the hub knows a self-signed certificate by.
func thumbprint(der []byte) string {
	sum := sha1.Sum(der)
	return hex.EncodeToString(sum[:])
}
