package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/attest"
	"github.com/devid-agent/devid-agent/keys"
	"github.com/devid-agent/devid-agent/tpm"
	"github.com/devid-agent/devid-agent/tpm/tpmtest"
)

// nonce is what the verifier asks with in these stories.
var nonce = []byte("0123456789abcdef0123456789abcdef")

const key = "device-g1"

// device is a gateway with a key in its TPM.
type device struct {
	t     *testing.T
	tpm   *tpmtest.TPM
	store *tpm.Store
}

func newDevice(t *testing.T, p *tpmtest.TPM, a keys.Algorithm) *device {
	t.Helper()
	s, err := tpm.Open(tpm.Config{TCTI: p.TCTI(), Dir: t.TempDir(), Algorithm: a})
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, tpm: p, store: s}
	d.create(key)
	return d
}

// made is a device whose TPM comes from maker.
func made(t *testing.T, maker *tpmtest.Maker, a keys.Algorithm) *device {
	t.Helper()
	p := tpmtest.Start(t)
	maker.Endorse(p)
	return newDevice(t, p, a)
}

func (d *device) create(name string) {
	d.t.Helper()
	if _, err := d.store.Create(d.t.Context(), name); err != nil {
		d.t.Fatal(err)
	}
}

// attest is the evidence as it arrives: through its file.
func (d *device) attest(name string) keys.Evidence {
	d.t.Helper()
	e, err := d.store.Attest(d.t.Context(), name, nonce)
	if err != nil {
		d.t.Fatal(err)
	}
	if n := d.tpm.Handles(); n != 0 {
		d.t.Errorf("%d objects are left in the TPM", n)
	}
	back, err := attest.Parse(encode(d.t, e))
	if err != nil {
		d.t.Fatal(err)
	}
	return back
}

// prove is q with a challenge and the device's answer to it.
func (d *device) prove(e keys.Evidence, q attest.Question) attest.Question {
	d.t.Helper()
	c, secret, err := attest.Challenge(e, q.Roots, q.Now)
	if err != nil {
		d.t.Fatal(err)
	}
	answer, err := d.store.Answer(d.t.Context(), c)
	if err != nil {
		d.t.Fatal(err)
	}
	if n := d.tpm.Handles(); n != 0 {
		d.t.Errorf("%d objects are left in the TPM", n)
	}
	q.Secret, q.Answer = &secret, &answer
	return q
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clone is e, sharing nothing with it.
func clone(t *testing.T, e keys.Evidence) keys.Evidence {
	t.Helper()
	c, err := attest.Parse(encode(t, e))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pool(t *testing.T, pem ...[]byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(bytes.Join(pem, nil)) {
		t.Fatal("no certificates")
	}
	return p
}

// factory is a manufacturer of our own, for certificates that swtpm_localca does not make.
type factory struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	issuer *x509.Certificate
}

func newFactory(t *testing.T) *factory {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &factory{t: t, key: k}
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0)}
	}
	f.root = f.sign(ca("root"), ca("root"), &k.PublicKey)
	f.issuer = f.sign(ca("issuer"), f.root, &k.PublicKey)
	return f
}

func (f *factory) sign(template, parent *x509.Certificate, public any) *x509.Certificate {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *factory) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(f.root)
	return p
}

// endorse gives p a certificate for its P-256 endorsement key, changed by change, padded as chips have it, and the
// issuer's beside it.
func (f *factory) endorse(p *tpmtest.TPM, change func(*x509.Certificate)) {
	f.t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageKeyAgreement, UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}},
		ExtraExtensions: []pkix.Extension{f.named()}}
	if change != nil {
		change(c)
	}
	leaf := f.sign(c, f.issuer, p.EndorsementKey())
	p.WriteNV(0x01c0000a, append(bytes.Clone(leaf.Raw), bytes.Repeat([]byte{0xFF}, 100)...))
	half := len(f.issuer.Raw) / 2
	p.WriteNV(0x01c00100, f.issuer.Raw[:half])
	p.WriteNV(0x01c00101, f.issuer.Raw[half:])
}

// named is the critical alternative name by which an endorsement certificate names the TPM.
func (f *factory) named() pkix.Extension {
	f.t.Helper()
	value := func(last int, text string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 23, 133, 2, last}, Value: text}}
	}
	rdn, err := asn1.Marshal(pkix.RDNSequence{value(1, "id:494E5443"), value(2, "garden"), value(3, "id:00010002")})
	if err != nil {
		f.t.Fatal(err)
	}
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: rdn}})
	if err != nil {
		f.t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: names}
}
