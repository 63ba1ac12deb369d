package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// credential is a certificate and its key, each in a file.
type credential struct{ roots, certificate, key string }

// makeServer makes a root of our own and a certificate for the broker, all of P-256.
func makeServer(dir string) (c credential, err error) {
	c = credential{filepath.Join(dir, "roots.pem"), filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench root"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: sim.HubHost}, NotBefore: from, NotAfter: to,
		DNSNames: []string{sim.HubHost, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	return c, errors.Join(writeCertificate(c.roots, root, root, rootKey.Public(), rootKey),
		writeCertificate(c.certificate, server, root, key.Public(), rootKey), stage.WriteKey(c.key, key))
}

func writeCertificate(file string, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return err
	}
	return stage.WriteChain(file, der)
}

// makeClient gives a client a software key, and a certificate of the simulated cloud's factory.
func makeClient(cloud *sim.Cloud, dir, name string) (credential, error) {
	file := filepath.Join(dir, name)
	return credential{certificate: file + ".pem", key: file + ".key"}, stage.Bootstrap(cloud, name, file)
}
