package provisioning_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
)

// office signs whatever it is asked to, and counts.
type office struct {
	t      *testing.T
	issued int
}

func (o *office) Issue(_ context.Context, r provisioning.Request) ([]*x509.Certificate, error) {
	o.issued++
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(o.issued)), Subject: pkix.Name{CommonName: r.DeviceID},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, r.Key.Public(), r.Key)
	if err != nil {
		o.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	return []*x509.Certificate{c}, err
}

// placer fails until it is well.
type placer struct{ well bool }

func (p *placer) Assign(_ context.Context, c tls.Certificate) (identity.Assignment, error) {
	if !p.well {
		return identity.Assignment{}, errors.New("busy")
	}
	return identity.Assignment{DeviceID: c.Leaf.Subject.CommonName, Hub: "h"}, nil
}

func TestACertificateThatCouldNotBePlacedIsNotAskedForAgain(t *testing.T) {
	key, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	o, p := &office{t: t}, &placer{}
	e, r := provisioning.Compose(o, p), provisioning.Request{DeviceID: "d1", Key: key}
	for range 3 {
		if _, err := e.Enroll(t.Context(), r); err == nil {
			t.Fatal("placed by nobody")
		}
	}
	p.well = true
	if g, err := e.Enroll(t.Context(), r); err != nil || g.DeviceID != "d1" || o.issued != 1 {
		t.Errorf("%+v, %v: %d certificates", g.Assignment, err, o.issued)
	}
	if _, err := e.Enroll(t.Context(), r); err != nil || o.issued != 2 {
		t.Errorf("the next enrollment: %v, %d certificates", err, o.issued)
	}
	other, err := keystest.Generate(keys.ECDSAP256)
	if err != nil {
		t.Fatal(err)
	}
	p.well = false
	_, _ = e.Enroll(t.Context(), r)
	p.well = true
	if g, err := e.Enroll(t.Context(), provisioning.Request{DeviceID: "d1", Key: other}); err != nil || identity.CheckChain(g.Chain, "d1", other.Public(), time.Now()) != nil {
		t.Errorf("another key got the certificate of the first: %v", err)
	}
}
