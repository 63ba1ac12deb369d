package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/provisioning/est"
)

const device = "gateway-1"

// agent is a device of ours.
type agent struct {
	*testing.T
	server *estserver
	ids    *identity.Store
	name   string
	key    crypto.Signer
	config est.Config
}

func newAgent(t *testing.T, s *estserver, algorithm keys.Algorithm) *agent {
	t.Helper()
	ids, err := identity.Open(t.Context(), t.TempDir(), keystest.NewStore(algorithm), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{T: t, server: s, ids: ids}
	a.next()
	boot := s.factory.client(device)
	roots := x509.NewCertPool()
	roots.AddCert(s.web.cert)
	a.config = est.Config{URL: s.url, Roots: mtls.Fixed(roots), Anchors: []*x509.Certificate{s.root.cert}, UserAgent: "devid-agent/test",
		Bootstrap: func(context.Context) (tls.Certificate, error) { return boot, nil }}
	return a
}

func (a *agent) next() {
	a.Helper()
	var err error
	if a.name, a.key, err = a.ids.NextKey(a.Context()); err != nil {
		a.Fatal(err)
	}
}

func (a *agent) issue(id string) ([]*x509.Certificate, error) {
	return est.New(a.config).Issue(a.Context(), provisioning.Request{DeviceID: id, Key: a.key, Current: a.ids.Current()})
}

// inForce stages what was issued, as the renewer does, and promotes it.
func (a *agent) inForce(chain []*x509.Certificate, err error) {
	a.Helper()
	if err != nil {
		a.Fatalf("%v: %v | %s", fault.Of(err), err, fault.Hint(err))
	}
	if len(chain) != 2 || !chain[1].Equal(a.server.ca.cert) {
		a.Errorf("chain of %d", len(chain))
	}
	grant := identity.Grant{Assignment: identity.Assignment{DeviceID: device, Hub: "hub"}, Chain: chain}
	if _, err := a.ids.Stage(a.Context(), a.name, grant); err != nil {
		a.Fatal(err)
	}
	if err := a.ids.Promote(); err != nil {
		a.Fatal(err)
	}
	a.next()
}

func TestDeviceLivesThroughFirstCertificateAndRenewals(t *testing.T) {
	s := start(t)
	for _, algorithm := range []keys.Algorithm{keys.ECDSAP256, keys.ECDSAP384, keys.RSA2048} {
		t.Run(string(algorithm), func(t *testing.T) {
			a := newAgent(t, s, algorithm)
			var serials []string
			for range 3 {
				a.inForce(a.issue(device))
				serials = append(serials, a.ids.Current().Leaf().SerialNumber.String())
			}
			slices.Sort(serials)
			if len(slices.Compact(serials)) != 3 {
				t.Errorf("serials %v", serials)
			}
		})
	}
}

func TestNamesThatGoWouldWriteOtherwiseSurviveARenewal(t *testing.T) {
	a := newAgent(t, start(t), keys.ECDSAP256)
	name := func(tag int, value []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: value}
	}
	san, err := asn1.Marshal([]asn1.RawValue{name(1, []byte("a@plant")), name(7, []byte{192, 0, 2, 1}), name(2, []byte("gateway-1.plant"))})
	if err != nil {
		t.Fatal(err)
	}
	leaf := a.server.ca.certify(&x509.Certificate{
		Subject:         pkix.Name{CommonName: device, Organization: []string{"Plant 7"}, SerialNumber: "SN 0042"},
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}},
	}, a.key.Public())
	a.inForce([]*x509.Certificate{leaf, a.server.ca.cert}, nil)
	a.inForce(a.issue(device))
	got := a.ids.Current().Leaf()
	i := slices.IndexFunc(got.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.17" })
	if !bytes.Equal(got.RawSubject, leaf.RawSubject) || i < 0 || !bytes.Equal(got.Extensions[i].Value, san) {
		t.Errorf("subject %s, extensions %v", got.Subject, got.Extensions)
	}
}
