package station

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
)

// backdate is how much earlier than now a certificate begins: clocks of devices are behind.
const backdate = 5 * time.Minute

// proofDays is how long the certificate of a proof of possession lives: it is uploaded at once.
const proofDays = 7

// Sign certifies what a device asks for, where the policy allows it, for so many days, MaxDays when zero. The chain is
// that of the device, up to the root. A serial of NewSerial makes it safe to repeat; "" draws one.
func (a *Authority) Sign(r *x509.CertificateRequest, n int, serial string) ([]*x509.Certificate, error) {
	if n == 0 {
		n = a.charter.Policy.MaxDays
	}
	if err := a.charter.Policy.Allow(r, n); err != nil {
		return nil, err
	}
	t := &x509.Certificate{Subject: pkix.Name{CommonName: r.Subject.CommonName}, DNSNames: r.DNSNames,
		NotAfter: time.Now().Add(days(n)), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	return a.issue(order{template: t, public: r.PublicKey, serial: serial, purpose: "device"})
}

// Certify makes the sender of r an authority of that kind below this one. The path length is that of the kind, so that
// nobody below can make more of himself than he is.
func (a *Authority) Certify(r *x509.CertificateRequest, kind string, n int) ([]*x509.Certificate, error) {
	below, known := kinds[kind]
	switch own := kinds[a.charter.Kind]; {
	case !known:
		return nil, fault.AskOperator(fmt.Errorf("unknown kind %q", kind), "choose company, factory or technician")
	case below.below >= own.below:
		return nil, fault.AskOperator(fmt.Errorf("certify %s: a %s stands not below a %s", r.Subject, kind, a.charter.Kind),
			"the order is root, company, factory, technician")
	}
	if n == 0 {
		n = below.days
	}
	return a.certify(r, kind, n)
}

func (a *Authority) certify(r *x509.CertificateRequest, kind string, n int) ([]*x509.Certificate, error) {
	below := kinds[kind].below
	t := &x509.Certificate{Subject: r.Subject, NotAfter: time.Now().Add(days(n)),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: below, MaxPathLenZero: below == 0}
	return a.issue(order{template: t, public: r.PublicKey, purpose: kind})
}

// Prove is the proof that we hold the key of this authority, for IoT Hub and DPS: a certificate whose common name is
// the verification code (Microsoft Learn, "How to verify X.509 CA certificates"). Its own key serves nobody, and is
// forgotten.
func (a *Authority) Prove(code string) (*x509.Certificate, error) {
	if code == "" || len(code) > 64 {
		return nil, fault.AskOperator(fmt.Errorf("%q is no verification code", code), "copy the code that Azure shows with the certificate")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{Subject: pkix.Name{CommonName: code}, NotAfter: time.Now().Add(days(proofDays)),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	chain, err := a.issue(order{template: t, public: key.Public(), purpose: "proof"})
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// order is one certificate to be issued.
type order struct {
	template *x509.Certificate
	public   crypto.PublicKey
	serial   string // drawn when empty
	purpose  string
}

func (a *Authority) issue(o order) ([]*x509.Certificate, error) {
	chain, err := a.issued(o)
	if err != nil {
		return nil, fmt.Errorf("certify %s: %w", o.template.Subject, err)
	}
	return chain, nil
}

func (a *Authority) issued(o order) (_ []*x509.Certificate, err error) {
	if o.serial == "" {
		if o.serial, err = NewSerial(); err != nil {
			return nil, err
		}
	}
	public, err := x509.MarshalPKIXPublicKey(o.public)
	if err != nil {
		return nil, err
	}
	if err := a.date(o.template); err != nil {
		return nil, err
	}
	entry := Issued{Serial: o.serial, Subject: o.template.Subject.String(), For: o.purpose, Key: sum(public), At: time.Now().UTC()}
	entry, err = a.journal.issue(entry, func() ([]byte, time.Time, error) { return a.create(o) })
	if err != nil {
		return nil, err
	}
	own, err := identity.ParseChain([]byte(entry.Certificate))
	if err != nil {
		return nil, err
	}
	return append(own, a.chain...), nil
}

// date gives the certificate its dates: nothing outlives those who vouch for it.
func (a *Authority) date(t *x509.Certificate) error {
	now := time.Now()
	t.NotBefore = now.Add(-backdate)
	for _, c := range a.chain {
		if now.After(c.NotAfter) {
			return fault.AskOperator(fmt.Errorf("the certificate of %s has expired at %s", c.Subject, c.NotAfter.Local()), "have it renewed above")
		}
		if t.NotAfter.After(c.NotAfter) {
			t.NotAfter = c.NotAfter
		}
		if t.NotBefore.Before(c.NotBefore) {
			t.NotBefore = c.NotBefore
		}
	}
	return nil
}

// create signs; crypto/x509 verifies the signature before it returns.
func (a *Authority) create(o order) ([]byte, time.Time, error) {
	number, ok := new(big.Int).SetString(o.serial, 16)
	if !ok {
		return nil, time.Time{}, errors.New("the serial is no number")
	}
	parent := o.template // a root certifies itself
	if len(a.chain) > 0 {
		parent = a.chain[0]
	}
	o.template.SerialNumber, o.template.SignatureAlgorithm = number, hashFor(a.key)
	der, err := x509.CreateCertificate(rand.Reader, o.template, parent, o.public, a.key)
	if err != nil {
		return nil, time.Time{}, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), o.template.NotAfter, nil
}
