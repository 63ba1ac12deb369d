package station

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Policy is what an authority signs for devices. It lies in ca.json, for its owner to edit.
type Policy struct {
	CN      string   `json:"cn"`       // regular expression that the whole common name matches
	MaxDays int      `json:"max_days"` // the longest life of a device certificate
	Keys    []string `json:"keys"`     // kinds of keys: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072, rsa-4096
}

// DefaultPolicy takes device IDs, and module IDs as deviceId/moduleId (Microsoft Learn, "Authenticate identities with
// X.509 certificates"), which a common name has room for.
func DefaultPolicy() Policy {
	return Policy{CN: `[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)?`, MaxDays: 365,
		Keys: []string{"ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"}}
}

// check says what is wrong with the policy itself.
func (p Policy) check() error {
	const where = "correct the policy in ca.json, or the flags"
	if _, err := p.pattern(); err != nil {
		return fault.AskOperator(fmt.Errorf("policy: cn: %w", err), where)
	}
	if p.MaxDays < 1 {
		return fault.AskOperator(fmt.Errorf("policy: max_days %d", p.MaxDays), where)
	}
	for _, k := range p.Keys {
		if !slices.Contains(DefaultPolicy().Keys, k) {
			return fault.AskOperator(fmt.Errorf("policy: unknown kind of key %q", k), where)
		}
	}
	if len(p.Keys) == 0 {
		return fault.AskOperator(errors.New("policy: no kind of key is allowed"), where)
	}
	return nil
}

func (p Policy) pattern() (*regexp.Regexp, error) { return regexp.Compile(`^(?:` + p.CN + `)$`) }

// The extensions that a request may ask for, and what each has to say for us to sign it (RFC 5280, 4.2.1).
var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidClientAuth       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
)

// Allow says why the policy does not let a device have what r asks for, or nil. What is not allowed is refused, and not
// left out in silence: a device that asks for more than a client certificate is not the device of this order.
func (p Policy) Allow(r *x509.CertificateRequest, days int) error {
	refuse := func(format string, a ...any) error {
		return fault.AskOperator(fmt.Errorf("sign for %s: %w", r.Subject, fmt.Errorf(format, a...)),
			"correct the request, or the policy of the authority in ca.json")
	}
	pattern, err := p.pattern()
	if err != nil {
		return err
	}
	cn := r.Subject.CommonName
	switch {
	case !pattern.MatchString(cn) || len(cn) > 64: // ub-common-name of RFC 5280, appendix A.1
		return refuse("the common name %q is not of the form %s", cn, p.CN)
	case len(r.Subject.Names) != 1:
		return refuse("the subject has more than a common name")
	case !slices.Contains(p.Keys, kindOf(r.PublicKey)):
		return refuse("a key of kind %s, where one of %v is allowed", kindOf(r.PublicKey), p.Keys)
	case days < 1 || days > p.MaxDays:
		return refuse("%d days, where at most %d are allowed", days, p.MaxDays)
	}
	if err := allowExtensions(r); err != nil {
		return refuse("%w", err)
	}
	return nil
}

func allowExtensions(r *x509.CertificateRequest) error {
	for _, e := range r.Extensions {
		var err error
		switch {
		case e.Id.Equal(oidKeyUsage):
		case e.Id.Equal(oidSubjectAltName):
			err = allowNames(r)
		case e.Id.Equal(oidBasicConstraints):
			err = allowConstraints(e.Value)
		case e.Id.Equal(oidExtKeyUsage):
			err = allowUsage(e.Value)
		default:
			err = fmt.Errorf("the request asks for the extension %v", e.Id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// allowNames lets a device have its own name once more, as EZCA's tutorial for IoT Hub has it.
func allowNames(r *x509.CertificateRequest) error {
	other := len(r.EmailAddresses)+len(r.IPAddresses)+len(r.URIs) > 0
	if other || slices.ContainsFunc(r.DNSNames, func(n string) bool { return n != r.Subject.CommonName }) {
		return errors.New("the request asks for a name that is not its common name")
	}
	return nil
}

func allowConstraints(der []byte) error {
	var c struct {
		CA      bool `asn1:"optional"`
		PathLen int  `asn1:"optional,default:-1"`
	}
	if rest, err := asn1.Unmarshal(der, &c); err != nil || len(rest) > 0 {
		return errors.New("the request has basic constraints that cannot be read")
	}
	if c.CA {
		return errors.New("the request asks to be an authority")
	}
	return nil
}

func allowUsage(der []byte) error {
	var usage []asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(der, &usage); err != nil || len(rest) > 0 {
		return errors.New("the request has an extended key usage that cannot be read")
	}
	for _, u := range usage {
		if !u.Equal(oidClientAuth) {
			return fmt.Errorf("the request asks for the usage %v, where only client authentication is signed", u)
		}
	}
	return nil
}

// days is n days as a duration.
func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
