package ezca

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/provisioning"
)

// task is what one Issue is to get.
type task struct {
	request provisioning.Request
	verb    string
	name    string            // the common name that the certificate must have
	old     *x509.Certificate // that is renewed; nil at the first certificate
	subject []byte            // DER
	san     *pkix.Extension   // nil where there is none
}

// renewalOf carries subject and alternative names over byte for byte: the service derives them from the certificate, and
// answers 400 where the request has others (ezca-go, certificates.go).
func renewalOf(r provisioning.Request) task {
	old := r.Current.Leaf()
	return task{request: r, verb: "renew", name: old.Subject.CommonName, old: old, subject: old.RawSubject, san: provisioning.AlternativeNames(old)}
}

// firstOf asks for the device's name twice, as Keytos' tutorial for IoT Hub does: as common name and as DNS name.
func firstOf(r provisioning.Request) task {
	t := task{request: r, verb: "first certificate of", name: r.DeviceID}
	subject, err := asn1.Marshal(pkix.Name{CommonName: r.DeviceID}.ToRDNSequence())
	if err != nil {
		return t // not UTF-8: the request will say so
	}
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: typeDNS, Bytes: []byte(r.DeviceID)}})
	if err != nil {
		return t
	}
	t.subject, t.san = subject, &pkix.Extension{Id: provisioning.OIDAlternativeNames, Value: names}
	return t
}

// sign is the certificate request in PEM, signed with SHA-256.
func (t task) sign() (string, error) {
	if t.subject == nil {
		return "", fault.As(fault.Permanent, errors.New("the device ID cannot be a common name"))
	}
	template := &x509.CertificateRequest{RawSubject: t.subject, SignatureAlgorithm: x509.ECDSAWithSHA256}
	if t.rsa() {
		template.SignatureAlgorithm = x509.SHA256WithRSA
	}
	if t.san != nil {
		template.ExtraExtensions = []pkix.Extension{*t.san}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, t.request.Key)
	if err != nil {
		return "", fault.As(fault.Of(err), fmt.Errorf("sign the certificate request: %w", err))
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

func (t task) rsa() bool {
	_, ok := t.request.Key.Public().(*rsa.PublicKey)
	return ok
}

// days is the validity to ask for. EZCA counts whole days, and has no less than one.
func (t task) days(c Config) int {
	switch {
	case c.Validity > 0:
		return c.Validity
	case t.old == nil:
		return defaultValidity
	}
	return max(int(t.old.NotAfter.Sub(t.old.NotBefore)/(24*time.Hour)), 1)
}

// sameNames reports whether two encodings of alternative names hold the same names, in whatever order.
func sameNames(a, b []byte) bool {
	one, err := generalNames(a)
	if err != nil {
		return false
	}
	two, err := generalNames(b)
	return err == nil && slices.EqualFunc(one, two, bytes.Equal)
}

// generalNames are the names in an extension, as they are encoded, sorted.
func generalNames(extension []byte) ([][]byte, error) {
	var raw []asn1.RawValue
	if rest, err := asn1.Unmarshal(extension, &raw); err != nil || len(rest) > 0 {
		return nil, errors.New("it is malformed")
	}
	var names [][]byte
	for _, r := range raw {
		names = append(names, r.FullBytes)
	}
	slices.SortFunc(names, bytes.Compare)
	return names, nil
}
