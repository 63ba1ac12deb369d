package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// prepare makes what the devices need, and prints a configuration of the agent for each. With more than one device each
// has a directory of its own.
func (o *options) prepare(cloud *sim.Cloud, out io.Writer) error {
	for _, id := range o.devices {
		p := &paper{options: o, cloud: cloud, id: id, dir: o.dir}
		if len(o.devices) > 1 {
			p.dir = filepath.Join(p.dir, id)
		}
		if err := p.prepare(out); err != nil {
			return fmt.Errorf("device %s: %w", id, err)
		}
	}
	if o.csr != "" {
		return o.prepareRequest(cloud, out)
	}
	if len(o.devices) == 0 {
		fmt.Fprintf(out, "# no --device given\n# dps: %s\n# hub: %s\n# roots: %s\n", cloud.DPSAddr(), cloud.HubAddr(), o.file("roots.pem"))
	}
	return nil
}

// paper is what one device gets with it.
type paper struct {
	*options
	cloud *sim.Cloud
	id    string
	dir   string
	key   string // where the bootstrap certificate's key is
}

func (p *paper) prepare(out io.Writer) error {
	if p.id != filepath.Base(p.id) {
		return errors.New("not a name for a file")
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	text, err := ways[p.print](p)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

func (p *paper) path(name string) string { return filepath.Join(p.dir, name) }

// secret writes a file for the device's eyes only, and returns its path.
func (p *paper) secret(name string, content []byte) (string, error) {
	return p.path(name), os.WriteFile(p.path(name), content, 0o600)
}

// bootstrap makes a software key, and a certificate of the factory for it as name.
func (p *paper) bootstrap(name string) error { return p.bootstrapFrom(name, p.cloud.Bootstrap) }

// bootstrapFrom does so with another authority.
func (p *paper) bootstrapFrom(name string, by authority) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if p.key, err = p.secret("bootstrap.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return err
	}
	return p.certify(name, key.Public(), by)
}

// authority certifies the public key of a device.
type authority func(device string, public crypto.PublicKey, life time.Duration) ([]*x509.Certificate, error)

func (p *paper) certify(name string, public crypto.PublicKey, by authority) error {
	chain, err := by(name, public, p.factory)
	if err != nil {
		return err
	}
	return writeCertificates(p.path("bootstrap.pem"), chain)
}

// prepareRequest certifies a key that lives elsewhere, for instance in a TPM.
func (o *options) prepareRequest(cloud *sim.Cloud, out io.Writer) error {
	b, err := os.ReadFile(o.csr)
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	r, err := x509.ParseCertificateRequest(b)
	if err != nil {
		return fmt.Errorf("request %s: %w", o.csr, err)
	}
	if err := r.CheckSignature(); err != nil {
		return fmt.Errorf("request %s: %w", o.csr, err)
	}
	p := &paper{options: o, cloud: cloud, id: r.Subject.CommonName, dir: o.dir, key: "WHERE ITS KEY IS"}
	if err := p.certify(p.id, r.PublicKey, cloud.Bootstrap); err != nil {
		return err
	}
	_, err = io.WriteString(out, p.x509Text())
	return err
}
