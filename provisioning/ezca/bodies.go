package ezca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
)

// The paths, and what a certificate is for.
const (
	pathFirst   = "/api/CA/RequestSSLCertificateV2"
	pathRenewV3 = "/api/Certificates/RenewCertificateV3"
	pathRenewV2 = "/api/Certificates/RenewCertificateV2"
	pathRenewV1 = "/api/Certificates/RenewCertificate"

	clientAuth = "1.3.6.1.5.5.7.3.2"
	typeDNS    = 2 // of a GeneralName (RFC 5280, 4.2.1.6), which EZCA's numbers follow
)

var renewalPaths = map[string]string{V3: pathRenewV3, V2: pathRenewV2, V1: pathRenewV1}

// firstBody is what ezca-go sends, no more: the other properties of EZCAClient's model are optional.
type firstBody struct {
	CAID             string
	TemplateID       string
	CSR              string
	SubjectName      string
	SubjectAltNames  []alternativeName
	ValidityInDays   int
	SelectedLocation string
	KeyUsages        []string
	EKUs             []string
}

type alternativeName struct {
	SubjectAltType int
	ValueSTR       string
}

// first asks for a client's certificate. The service takes names and usage from here, and from the request the key alone.
func (t task) first(c Config, csr string) firstBody {
	usages := []string{"Digital Signature"}
	if t.rsa() {
		usages = []string{"Key Encipherment", "Digital Signature"}
	}
	return firstBody{
		CAID: strings.ToLower(c.CA), TemplateID: strings.ToLower(c.Template), CSR: csr,
		SubjectName: pkix.Name{CommonName: t.name}.String(), SubjectAltNames: []alternativeName{{typeDNS, t.name}},
		ValidityInDays: t.days(c), SelectedLocation: c.Location, KeyUsages: usages, EKUs: []string{clientAuth},
	}
}

type renewalPayload struct {
	CSR            string
	ValidityInDays int
}

type renewalBody struct {
	Certificate string
	Payload     renewalPayload
}

// renewal names the certificate in the body, but for V1, which knows it by the token alone.
func (t task) renewal(c Config, api, csr string) any {
	payload := renewalPayload{csr, t.days(c)}
	if api == V1 {
		return payload
	}
	return renewalBody{pemOf(t.old), payload}
}

func pemOf(x *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw}))
}
