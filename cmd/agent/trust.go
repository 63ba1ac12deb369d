package main

import (
	"crypto/x509"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
)

//go:embed microsoft.pem
var microsoftRoots []byte

// trust is the roots that read returns, read again for each connection: authorities are replaced while the agent runs. Where
// that fails, those that were read last go on to be trusted, and no others.
func (a *agent) trust(part string, read func() (*x509.CertPool, error)) (roots func() *x509.CertPool, err error) {
	last, err := read()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	return func() *x509.CertPool {
		mu.Lock()
		defer mu.Unlock()
		now, err := read()
		if err != nil {
			a.part(part).Error("the roots cannot be read, those from before are trusted", "err", err, "hint", fault.Hint(err))
			return last
		}
		last = now
		return last
	}, nil
}

// azureRoots returns the roots that a server of Azure may come from: those of file and no others where it is set, else
// what trust says. Nil is the system's.
func azureRoots(c *Config, file string) (*x509.CertPool, error) {
	if file != "" {
		return readRoots(file)
	}
	if c.Trust.System && !c.Trust.Microsoft && c.Trust.Roots == "" {
		return nil, nil
	}
	roots, err := startOfRoots(c.Trust.System)
	if err != nil {
		return nil, err
	}
	if c.Trust.Microsoft {
		roots.AppendCertsFromPEM(microsoftRoots)
	}
	if c.Trust.Roots == "" {
		return roots, nil
	}
	more, err := readCertificates(c.Trust.Roots)
	for _, root := range more {
		roots.AddCert(root)
	}
	return roots, err
}

func startOfRoots(system bool) (*x509.CertPool, error) {
	if !system {
		return x509.NewCertPool(), nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("the system's roots: %w", err), "install ca-certificates, or set trust.system: false")
	}
	return roots, nil
}

// readRoots returns the roots in the file at path; "" is nil, the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	all, err := readCertificates(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range all {
		pool.AddCert(c)
	}
	return pool, nil
}

// readCertificates returns those in the PEM file at path; "" is none.
func readCertificates(path string) ([]*x509.Certificate, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.AskOperator(err, "put the certificates to trust into "+path)
	}
	all, err := identity.ParseChain(b)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%s: %w", path, err), "put the certificates to trust into it, as PEM")
	}
	return all, nil
}

// keepTrustBundle writes what DPS wants the device to trust beside the identity. Nothing trusts it by itself: whoever
// could forge one bundle would own the device's trust for good. A person may name it as trust.roots.
func (a *agent) keepTrustBundle(bundle []*x509.Certificate) {
	file := filepath.Join(a.config.Device.State, "trust-bundle.pem")
	if err := os.WriteFile(file, []byte(identity.EncodeChain(bundle)), 0o644); err != nil {
		a.part("dps").Warn("the trust bundle is not on disk", "err", err)
		return
	}
	a.part("dps").Info("the service sent a trust bundle", "certificates", len(bundle), "file", file)
}
