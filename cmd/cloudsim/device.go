package main

import (
	"bytes"
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

	"github.com/devid-agent/devid-agent/sim"
)

// prepare makes the bootstrap credentials and prints a configuration of the agent for each device. With more
// than one device each has a directory of its own.
func (o *options) prepare(cloud *sim.Cloud, out io.Writer) error {
	for _, id := range o.devices {
		dir := o.dir
		if len(o.devices) > 1 {
			dir = filepath.Join(dir, id)
		}
		if err := o.prepareDevice(cloud, id, dir, out); err != nil {
			return fmt.Errorf("device %s: %w", id, err)
		}
	}
	if o.csr == "" {
		if len(o.devices) == 0 {
			fmt.Fprintf(out, "# no --device given\n# dps: %s\n# hub: %s\n# roots: %s\n", cloud.DPSAddr(), cloud.HubAddr(), filepath.Join(o.dir, "roots.pem"))
		}
		return nil
	}
	return o.prepareRequest(cloud, out)
}

func (o *options) prepareDevice(cloud *sim.Cloud, id, dir string, out io.Writer) error {
	if id != filepath.Base(id) {
		return errors.New("not a name for a file")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	keyFile := filepath.Join(dir, "bootstrap.key")
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	return o.certify(cloud, id, key.Public(), dir, keyFile, out)
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
	return o.certify(cloud, r.Subject.CommonName, r.PublicKey, o.dir, "WHERE ITS KEY IS", out)
}

func (o *options) certify(cloud *sim.Cloud, id string, public crypto.PublicKey, dir, keyFile string, out io.Writer) error {
	chain, err := cloud.Bootstrap(id, public, o.factory)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, c := range chain {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	file := filepath.Join(dir, "bootstrap.pem")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, snippet, id, file, keyFile, sim.DPSHost, cloud.DPSAddr(), sim.IDScope,
		filepath.Join(o.dir, "roots.pem"), cloud.HubAddr(), filepath.Join(o.dir, "roots.pem"))
	return err
}

const snippet = `device: {id: %q}
bootstrap: {certificate: %q, key: %q}
provisioning: {dps: {endpoint: %s, connect: %q, id_scope: %s, roots: %q}}
hub: {connect: %q, roots: %q}
`
