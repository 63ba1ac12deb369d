package sim

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// certifyEST makes a certificate as the request wants it, names byte for byte, or as the temper wants it.
func (c *Cloud) certifyEST(a *estCA, r *x509.CertificateRequest, t ESTTemper) (*x509.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	template, public := c.policy.estTemplate(r, time.Now().Add(t.ClockOffset)), r.PublicKey
	t.Answer.spoil(template, time.Now().Add(t.ClockOffset))
	if t.Answer == ESTWrongKey {
		public = a.now.issuing.key.Public()
	}
	cert, err := c.signEST(a, template, public, t)
	if err != nil {
		return nil, err
	}
	cn := r.Subject.CommonName
	a.issued[cn] = append(a.issued[cn], cert)
	return cert, nil
}

func (p Policy) estTemplate(r *x509.CertificateRequest, now time.Time) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber:          newSerial(newUnique()),
		RawSubject:            r.RawSubject,
		NotBefore:             now.Add(-min(p.Backdate, p.Life/10)),
		NotAfter:              now.Add(p.Life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, e := range r.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			template.ExtraExtensions = append(template.ExtraExtensions, e)
		}
	}
	return template
}

func (a ESTAnswer) spoil(template *x509.Certificate, now time.Time) {
	switch a {
	case ESTWrongSubject:
		template.RawSubject, template.Subject = nil, pkix.Name{CommonName: "another-device"}
	case ESTLostNames:
		template.ExtraExtensions = nil
	case ESTExpired:
		template.NotBefore, template.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour)
	case ESTFuture:
		template.NotBefore = now.Add(time.Hour)
	}
}

// signEST needs c.mu to be held.
func (c *Cloud) signEST(a *estCA, template *x509.Certificate, public crypto.PublicKey, t ESTTemper) (*x509.Certificate, error) {
	by := a.now.issuing
	switch {
	case t.Answer == ESTWrongIssuer:
		by = c.pki.factory.issuing
	case t.OldIssuer && a.before != nil:
		by = a.before.issuing
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, public, by.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// ESTCertify issues a certificate as if r had been asked for by a device, and returns it with its chain.
func (c *Cloud) ESTCertify(r *x509.CertificateRequest) ([]*x509.Certificate, error) {
	leaf, err := c.certifyEST(c.estCA, r, ESTTemper{})
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{leaf, c.estIssuing(c.estCA)}, nil
}
