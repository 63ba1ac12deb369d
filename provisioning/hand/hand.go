// Package hand gets certificates by way of a person: the request goes out as a file, the chain comes back as one.
//
// A device without any network is enrolled so by USB stick, and a factory's station works the same way over ssh. The
// chain that comes back is held against the request like that of any other issuer, and goes through the same journal.
package hand

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/provisioning"
)

// The files: the request that waits for a signature, and the chain that a person has brought for it.
const (
	requestFile = "request.csr"
	chainFile   = "chain.pem"
)

const pemRequest = "CERTIFICATE REQUEST"

// Desk is where requests wait. It is a provisioning.Issuer.
type Desk struct {
	// Request makes the certificate request (DER) for a key; nil = provisioning.SigningRequest.
	Request func(ctx context.Context, commonName string, key crypto.Signer) ([]byte, error)
	Log     *slog.Logger

	dir *durable.Dir
}

var _ provisioning.Issuer = (*Desk)(nil)

// Open returns the desk in the directory at path, which is made where it does not exist.
func Open(path string, step durable.Step) (*Desk, error) {
	dir, err := durable.Open(path, step)
	if err != nil {
		return nil, fmt.Errorf("open requests: %w", err)
	}
	return &Desk{dir: dir, Request: provisioning.SigningRequest, Log: slog.New(slog.DiscardHandler)}, nil
}

// Issue returns the chain that a person has brought for r.Key. Before that its error wraps provisioning.ErrPending, and
// the request is on the medium.
func (d *Desk) Issue(ctx context.Context, r provisioning.Request) ([]*x509.Certificate, error) {
	chain, err := d.brought(r)
	if chain != nil || err != nil {
		return chain, err
	}
	if err := d.ask(ctx, r); err != nil {
		return nil, err
	}
	return nil, fault.AskOperator(fmt.Errorf("%w: %s", provisioning.ErrPending, d.dir.File(requestFile)),
		"take the request (devid-agent csr --out FILE) to the CA, and bring the chain back: devid-agent import FILE")
}

// brought is the chain for r.Key, nil where there is none. One for another key has served already, or never will. One that
// is not in date stays: it was when it was brought, and a clock without a battery begins in 1970 after a power cut.
func (d *Desk) brought(r provisioning.Request) ([]*x509.Certificate, error) {
	b, err := d.dir.Read(chainFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the chain: %w", err)
	}
	chain, err := identity.ParseChain(b)
	if err != nil || !same(chain[0].PublicKey, r.Key.Public()) {
		d.Log.Info("the chain that was brought is not for this request", "err", err)
		return nil, d.dir.Remove(chainFile)
	}
	if err := identity.CheckChain(chain, r.DeviceID, r.Key.Public(), time.Now()); err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%w: the chain that was brought: %w", provisioning.ErrPending, err),
			"set the clock if it is wrong, or bring another chain: devid-agent import FILE")
	}
	return chain, nil
}

// ask puts the request on the medium, unless it lies there already.
func (d *Desk) ask(ctx context.Context, r provisioning.Request) error {
	if old, err := d.waiting(); err == nil && same(old.PublicKey, r.Key.Public()) {
		return nil
	}
	der, err := d.Request(ctx, r.DeviceID, r.Key)
	if err != nil {
		return err
	}
	if err := d.dir.Write(requestFile, pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der})); err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	d.Log.Info("a certificate request waits to be signed", "device", r.DeviceID, "file", d.dir.File(requestFile))
	return nil
}

func (d *Desk) waiting() (*x509.CertificateRequest, error) {
	b, err := d.dir.Read(requestFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != pemRequest {
		return nil, fmt.Errorf("%s is not a certificate request in PEM", d.dir.File(requestFile))
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

func same(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

// Waiting returns the request (PEM) that waits in the directory at path, beside an agent that may be running. The error
// is fs.ErrNotExist where none does: where there is none, or where it was for the certificate in force.
func Waiting(path string, current *identity.Identity) ([]byte, error) {
	d := &Desk{dir: durable.Look(path)}
	request, err := d.waiting()
	if err != nil {
		return nil, err
	}
	if current != nil && current.Certified() && same(request.PublicKey, current.Leaf().PublicKey) {
		return nil, fs.ErrNotExist
	}
	return d.dir.Read(requestFile)
}

// Bring puts chain (PEM, in any order) where Issue finds it, once it is right for the request that waits at path.
func Bring(path string, chain []byte, now time.Time) ([]*x509.Certificate, error) {
	dir := durable.Look(path)
	request, err := (&Desk{dir: dir}).waiting()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.AskOperator(errors.New("no request waits for a chain"), "make one first: devid-agent csr --out FILE")
	}
	if err != nil {
		return nil, err
	}
	all, err := identity.ParseChain(chain)
	if err != nil {
		return nil, err
	}
	sorted, err := sort(all, request.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := identity.CheckChain(sorted, request.Subject.CommonName, request.PublicKey, now); err != nil {
		return nil, err
	}
	return sorted, dir.Write(chainFile, []byte(identity.EncodeChain(sorted)))
}

// sort puts the certificate for public first, and behind each the one that has signed it.
func sort(all []*x509.Certificate, public crypto.PublicKey) ([]*x509.Certificate, error) {
	var leaf *x509.Certificate
	for _, c := range all {
		if same(c.PublicKey, public) {
			leaf = c
		}
	}
	if leaf == nil {
		return nil, fault.AskOperator(errors.New("none of the certificates is for the key of the request that waits"),
			"bring the chain that was made for this device's last request: devid-agent csr shows it")
	}
	chain := []*x509.Certificate{leaf}
	for range all {
		last := chain[len(chain)-1]
		for _, c := range all {
			if c != last && !c.Equal(last) && last.CheckSignatureFrom(c) == nil {
				chain = append(chain, c)
				break
			}
		}
		if chain[len(chain)-1] == last {
			break
		}
	}
	return chain, nil
}
