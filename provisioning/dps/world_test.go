package dps

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
)

const device = "gateway-1"

// world is a simulated cloud and a device with a bootstrap certificate.
type world struct {
	*testing.T
	cloud     *sim.Cloud
	bootstrap tls.Certificate
	key       crypto.Signer // that the device wants certified
	config    Config
}

// inWorld runs story in virtual time, over each transport.
func inWorld(t *testing.T, temper sim.Temper, story func(w *world)) {
	t.Helper()
	for _, transport := range []string{MQTT, WebSocket, HTTPS} {
		inWorldOf(t, transport, temper, story)
	}
}

// inWorldOf runs story in virtual time, over one transport.
func inWorldOf(t *testing.T, transport string, temper sim.Temper, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(temper, func(p *sim.Policy) { p.ECDSAServer = true })
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		w := &world{T: t, cloud: cloud, key: newKey(t)}
		w.bootstrap = w.factory(device)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cloud.RootsPEM())
		w.config = Config{
			IDScope: sim.IDScope, Roots: mtls.Fixed(roots), Dial: cloud.Dial, UserAgent: "devid agent/1", Transport: transport,
			Bootstrap: func(context.Context) (tls.Certificate, error) { return w.bootstrap, nil },
		}
		story(w)
	})
}

// Errorf names the transport, too.
func (w *world) Errorf(format string, args ...any) {
	w.Helper()
	w.T.Errorf(w.config.Transport+": "+format, args...)
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// factory is a bootstrap certificate for name.
func (w *world) factory(name string) tls.Certificate {
	w.Helper()
	key := newKey(w.T)
	chain, err := w.cloud.Bootstrap(name, key.Public(), time.Hour*24*365)
	if err != nil {
		w.Fatal(err)
	}
	return certificate(chain, key)
}

func certificate(chain []*x509.Certificate, key crypto.Signer) tls.Certificate {
	c := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, x := range chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}

func (w *world) enroll() (identity.Grant, error) {
	return New(w.config).Enroll(w.Context(), provisioning.Request{DeviceID: device, Key: w.key})
}

// wantGrant holds a grant against what the hub would accept.
func (w *world) wantGrant(g identity.Grant, err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
	if err := identity.Check(g, w.key, time.Now()); err != nil {
		w.Errorf("the grant is not usable: %v", err)
	}
	if len(g.Chain) != 3 || g.Hub != sim.HubHost {
		w.Errorf("chain of %d, hub %q", len(g.Chain), g.Hub)
	}
}
