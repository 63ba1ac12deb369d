package est

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mtls"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/keys/keystest"
	"github.com/devid-agent/devid-agent/provisioning"
	"github.com/devid-agent/devid-agent/sim"
)

const device = "gateway-1"

// world is a simulated CA and a device with a bootstrap certificate.
type world struct {
	*testing.T
	cloud  *sim.Cloud
	ids    *identity.Store
	key    crypto.Signer // that the device wants certified
	name   string        // of that key
	client *Client
	config Config
	log    *bytes.Buffer
}

// inWorld runs story in virtual time.
func inWorld(t *testing.T, temper sim.ESTTemper, story func(w *world)) {
	t.Helper()
	inWeather(t, sim.Temper{EST: temper}, story)
}

func inWeather(t *testing.T, temper sim.Temper, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cloud, err := sim.New(temper, func(p *sim.Policy) { p.ECDSAServer = true })
		if err != nil {
			t.Fatal(err)
		}
		defer cloud.Close()
		w := newWorld(t, cloud)
		w.config.Dial = cloud.Dial
		story(w)
	})
}

func newWorld(t *testing.T, cloud *sim.Cloud) *world {
	t.Helper()
	w := &world{T: t, cloud: cloud, log: &bytes.Buffer{}}
	var err error
	if w.ids, err = identity.Open(t.Context(), t.TempDir(), keystest.NewStore(keys.ECDSAP256), nil); err != nil {
		t.Fatal(err)
	}
	w.next()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cloud.RootsPEM())
	boot := w.factory(device)
	w.config = Config{
		URL: "https://" + sim.ESTHost, Roots: mtls.Fixed(roots), UserAgent: "devid-agent/1",
		Bootstrap: func(context.Context) (tls.Certificate, error) { return boot, nil },
		Log:       slog.New(slog.NewTextHandler(w.log, nil)),
	}
	return w
}

// next is the key of the next generation.
func (w *world) next() {
	w.Helper()
	var err error
	if w.name, w.key, err = w.ids.NextKey(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func newKey(t *testing.T, a keys.Algorithm) crypto.Signer {
	t.Helper()
	key, err := keystest.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// factory is a bootstrap certificate for name.
func (w *world) factory(name string) tls.Certificate {
	w.Helper()
	key := newKey(w.T, keys.ECDSAP256)
	chain, err := w.cloud.Bootstrap(name, key.Public(), 365*24*time.Hour)
	if err != nil {
		w.Fatal(err)
	}
	return identity.Certificate(chain, key)
}

// issue asks as the renewer does: with the identity in force, if there is one.
func (w *world) issue() ([]*x509.Certificate, error) {
	if w.client == nil {
		w.client = New(w.config)
	}
	return w.client.Issue(w.Context(), w.request())
}

func (w *world) request() provisioning.Request {
	return provisioning.Request{DeviceID: device, Key: w.key, Current: w.ids.Current()}
}

// inForce stages and promotes what was issued, and makes the key after it.
func (w *world) inForce(chain []*x509.Certificate, err error) {
	w.Helper()
	w.wantChain(chain, err)
	grant := identity.Grant{Assignment: identity.Assignment{DeviceID: device, Hub: "hub"}, Chain: chain}
	if _, err := w.ids.Stage(w.Context(), w.name, grant); err != nil {
		w.Fatal(err)
	}
	if err := w.ids.Promote(); err != nil {
		w.Fatal(err)
	}
	w.next()
}

// wantChain holds a chain against what a relying party with the CA's newest root accepts.
func (w *world) wantChain(chain []*x509.Certificate, err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v\n%s", err, w.log)
	}
	w.wantTrusted(chain, w.cloud.ESTRoots()[0])
	if err := identity.Check(identity.Grant{Assignment: identity.Assignment{DeviceID: device, Hub: "hub"}, Chain: chain}, w.key, time.Now()); err != nil {
		w.Errorf("the chain is not usable: %v", err)
	}
}

// wantTrusted verifies chain as somebody who has root and nothing else.
func (w *world) wantTrusted(chain []*x509.Certificate, root *x509.Certificate) {
	w.Helper()
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	options.Roots.AddCert(root)
	for _, x := range chain[1:] {
		options.Intermediates.AddCert(x)
	}
	if _, err := chain[0].Verify(options); err != nil {
		w.Errorf("not accepted by who trusts %s: %v", root.SerialNumber.Text(16), err)
	}
}

// odd puts a certificate into force whose names no template of Go's would write like that: string types and order of
// the subject, order and kinds of the alternative names.
func (w *world) odd() (subject, san []byte) {
	w.Helper()
	printable := func(oid asn1.ObjectIdentifier, s string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(s)}}}
	}
	subject, err := asn1.Marshal(pkix.RDNSequence{
		printable(asn1.ObjectIdentifier{2, 5, 4, 3}, device), printable(asn1.ObjectIdentifier{2, 5, 4, 10}, "Plant 7"),
		printable(asn1.ObjectIdentifier{2, 5, 4, 5}, "SN-0042"),
	})
	if err != nil {
		w.Fatal(err)
	}
	name := func(tag int, value []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: value}
	}
	san, err = asn1.Marshal([]asn1.RawValue{name(7, []byte{192, 0, 2, 1}), name(6, []byte("urn:dev:1")), name(2, []byte("gateway-1.plant"))})
	if err != nil {
		w.Fatal(err)
	}
	chain, err := w.cloud.ESTCertify(&x509.CertificateRequest{RawSubject: subject, Subject: pkix.Name{CommonName: device},
		Extensions: []pkix.Extension{{Id: provisioning.OIDAlternativeNames, Value: san}}, PublicKey: w.key.Public().(*ecdsa.PublicKey)})
	w.inForce(chain, err)
	return subject, san
}
