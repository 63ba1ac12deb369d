package sim

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net/http"
	"strings"
	"time"
)

// ezcaCall is one way to ask for a certificate.
type ezcaCall struct {
	judge func(*ezcaHandler, *http.Request, []byte, EZCATemper) (*ezcaWish, principal, error)
	shape ezcaShape
	again bool // it is a renewal
}

// ezcaIssues are the calls that ask for a certificate.
var ezcaIssues = map[string]ezcaCall{
	"POST CA/RequestSSLCertificate":        {(*ezcaHandler).issueV1, ezcaWrapped, false},
	"POST CA/RequestFullSSLCertificate":    {(*ezcaHandler).issueV1, ezcaFull, false},
	"POST CA/RequestSSLCertificateV2":      {(*ezcaHandler).issueV2, ezcaFull, false},
	"POST Certificates/RenewCertificate":   {(*ezcaHandler).renewV1, ezcaWrapped, true},
	"POST Certificates/RenewCertificateV2": {(*ezcaHandler).renewV2, ezcaText, true},
	"POST Certificates/RenewCertificateV3": {(*ezcaHandler).renewV2, ezcaFull, true},
}

func (h *ezcaHandler) issueV1(r *http.Request, body []byte, t EZCATemper) (*ezcaWish, principal, error) {
	return h.asked(r, body, t, false)
}

func (h *ezcaHandler) issueV2(r *http.Request, body []byte, t EZCATemper) (*ezcaWish, principal, error) {
	return h.asked(r, body, t, true)
}

// asked judges a request by bearer token.
func (h *ezcaHandler) asked(r *http.Request, body []byte, t EZCATemper, objects bool) (*ezcaWish, principal, error) {
	who, err := h.person(r)
	if err != nil {
		return nil, who, err
	}
	var b ezcaIssueBody
	if err := decodeEZCA(body, &b); err != nil {
		return nil, who, err
	}
	if err := h.here(b.CAID, b.TemplateID); err != nil {
		return nil, who, err
	}
	names, err := b.names(objects)
	if err != nil {
		return nil, who, err
	}
	wish, err := b.wish(names, t)
	if err != nil {
		return nil, who, err
	}
	domains := []string{commonName(wish.subject)}
	for _, n := range names {
		if n.SubjectAltType == 2 {
			domains = append(domains, n.ValueSTR)
		}
	}
	return wish, who, h.mayIssue(who, domains)
}

func (h *ezcaHandler) here(ca, template string) error {
	if names := h.cloud.ezca.names; ca != names.CA || template != names.Template {
		return badEZCA("there is no CA %q with template %q", ca, template)
	}
	return nil
}

func (b *ezcaIssueBody) wish(names []ezcaAltName, t EZCATemper) (*ezcaWish, error) {
	request, err := parseEZCARequest(b.CSR, t)
	if err != nil {
		return nil, err
	}
	w := &ezcaWish{public: request.PublicKey}
	if w.subject, err = parseSubject(b.SubjectName); err != nil {
		return nil, err
	}
	if w.altNames, err = encodeAltNames(names); err != nil {
		return nil, err
	}
	if w.usage, err = parseUsages(b.KeyUsages, request.PublicKey); err != nil {
		return nil, err
	}
	if w.purposes, err = parsePurposes(b.EKUs); err != nil {
		return nil, err
	}
	w.life, err = t.days(b.ValidityInDays)
	return w, err
}

// renewV1 judges a renewal whose certificate only the token names.
func (h *ezcaHandler) renewV1(r *http.Request, body []byte, t EZCATemper) (*ezcaWish, principal, error) {
	old, err := h.certificateOf(r, t)
	if err != nil {
		return nil, principal{}, err
	}
	var p ezcaRenewPayload
	if err := decodeEZCA(body, &p); err != nil {
		return nil, principal{}, err
	}
	w, err := h.renewal(old, p, t)
	return w, principal{}, err
}

// renewV2 judges a renewal whose body holds the certificate, too. V3 differs in the answer.
func (h *ezcaHandler) renewV2(r *http.Request, body []byte, t EZCATemper) (*ezcaWish, principal, error) {
	old, err := h.certificateOf(r, t)
	if err != nil {
		return nil, principal{}, err
	}
	var b ezcaRenewBody
	if err := decodeEZCA(body, &b); err != nil {
		return nil, principal{}, err
	}
	block, rest := pem.Decode([]byte(b.Certificate))
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, principal{}, badEZCA("Certificate is not one PEM block CERTIFICATE")
	}
	if string(block.Bytes) != string(old.Raw) {
		return nil, principal{}, badEZCA("Certificate is not the one that the token names")
	}
	w, err := h.renewal(old, b.Payload, t)
	return w, principal{}, err
}

// renewal is a certificate like the old one. Its names must be in the request, byte for byte.
func (h *ezcaHandler) renewal(old *x509.Certificate, p ezcaRenewPayload, t EZCATemper) (*ezcaWish, error) {
	request, err := parseEZCARequest(p.CSR, t)
	if err != nil {
		return nil, err
	}
	if err := sameNames(request, old); err != nil {
		return nil, badEZCA("CSR does not match the certificate: %v", err)
	}
	if t.RefuseSameKey && string(request.RawSubjectPublicKeyInfo) == string(old.RawSubjectPublicKeyInfo) {
		return nil, badEZCA("CSR has the key of the certificate")
	}
	if left := time.Until(old.NotAfter); t.TooEarly > 0 && left > t.TooEarly {
		return nil, badEZCA("it is too early to renew: %v is left", left.Round(time.Second))
	}
	w := &ezcaWish{subject: old.RawSubject, altNames: altNames(old.Extensions), usage: old.KeyUsage, public: request.PublicKey, old: old}
	if w.purposes, err = purposesOf(old); err != nil {
		return nil, err
	}
	w.life, err = t.days(p.ValidityInDays)
	return w, err
}

func purposesOf(x *x509.Certificate) ([]string, error) {
	for _, e := range x.Extensions {
		if e.Id.Equal(oidExtKeyUsage) {
			var oids []asn1.ObjectIdentifier
			if _, err := asn1.Unmarshal(e.Value, &oids); err != nil {
				return nil, err
			}
			var all []string
			for _, o := range oids {
				all = append(all, o.String())
			}
			return all, nil
		}
	}
	return nil, nil
}

var oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}

// signEZCA issues a certificate, spoilt as a says. The caller holds c.mu.
func (c *Cloud) signEZCA(w *ezcaWish, t EZCATemper, a EZCAAnswer) (*x509.Certificate, error) {
	now := time.Now().Add(t.ClockOffset)
	template := &x509.Certificate{
		SerialNumber: newSerial(newUnique()), RawSubject: w.subject, KeyUsage: w.usage, BasicConstraintsValid: true,
		NotBefore: now.Add(-min(c.policy.Backdate, w.life/10)), NotAfter: now.Add(w.life),
	}
	if err := w.extensions(template); err != nil {
		return nil, err
	}
	public, by := w.public, c.ezca.ca.now.issuing
	if t.OldIssuer && c.ezca.ca.before != nil {
		by = c.ezca.ca.before.issuing
	}
	a.spoil(template, now)
	switch a {
	case EZCAWrongKey:
		public = by.key.Public()
	case EZCAWrongIssuer:
		by = c.pki.factory.issuing
	}
	x, err := sign(template, by, public)
	if err != nil {
		return nil, err
	}
	cn := commonName(w.subject)
	c.ezca.ca.issued[cn] = append(c.ezca.ca.issued[cn], x)
	return x, nil
}

func (w *ezcaWish) extensions(template *x509.Certificate) error {
	if w.altNames != nil {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSubjectAltName, Value: w.altNames})
	}
	if len(w.purposes) == 0 {
		return nil
	}
	purposes, err := encodePurposes(w.purposes)
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidExtKeyUsage, Value: purposes})
	return err
}

func (a EZCAAnswer) spoil(template *x509.Certificate, now time.Time) {
	switch a {
	case EZCAWrongSubject:
		template.RawSubject, template.Subject = nil, pkix.Name{CommonName: "another-device"}
	case EZCALostNames:
		template.ExtraExtensions = template.ExtraExtensions[len(template.ExtraExtensions)-1:]
	case EZCAExpired:
		template.NotBefore, template.NotAfter = now.Add(-2*time.Hour), now.Add(-time.Hour)
	case EZCAFuture:
		template.NotBefore = now.Add(time.Hour)
	}
}
