package est

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/provisioning"
)

// chain is what TLS presents of the certificate that was issued: from the leaf for our key up to below its root, or
// with it. The error is Permanent: the same request would bring the same answer.
func (t task) chain(issued, authorities []*x509.Certificate, c Config) ([]*x509.Certificate, error) {
	leaf, err := t.leaf(issued)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	t.compare(leaf, c)
	chain, err := build(leaf, slices.Concat(issued, authorities), c.Anchors)
	if err != nil {
		return nil, fault.As(fault.Permanent, fault.AskOperator(fmt.Errorf("chain of certificate %s: %w", leaf.SerialNumber.Text(16), err),
			"hold what the EST server serves under cacerts, and provisioning.est.anchors, against the issuer of the certificate: "+leaf.Issuer.String()))
	}
	if !c.WithRoot && len(chain) > 1 && selfSigned(chain[len(chain)-1]) {
		chain = chain[:len(chain)-1]
	}
	return chain, nil
}

// leaf is the certificate for our key. It should come alone (RFC 7030, 4.2.3); some servers send its chain along.
func (t task) leaf(issued []*x509.Certificate) (*x509.Certificate, error) {
	public, ok := t.request.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("public key of type %T", t.request.Key.Public())
	}
	var leaf *x509.Certificate
	for _, x := range issued {
		if public.Equal(x.PublicKey) && (leaf == nil || x.NotAfter.After(leaf.NotAfter)) {
			leaf = x
		}
	}
	switch {
	case leaf == nil:
		return nil, fmt.Errorf("the CA certified another key: it answers with %q", issued[0].Subject)
	case t.old != nil && leaf.Equal(t.old):
		return nil, errors.New("the CA answers with the certificate that is in force already")
	case leaf.Subject.CommonName != t.name:
		return nil, fmt.Errorf("the CA certified the name %q, asked for was %q", leaf.Subject.CommonName, t.name)
	case time.Now().After(leaf.NotAfter):
		return nil, fmt.Errorf("the CA issued a certificate that expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return leaf, nil
}

// compare tells of names that the CA has changed: they are what the next renewal has to ask for.
func (t task) compare(leaf *x509.Certificate, c Config) {
	if t.old == nil {
		return
	}
	san := provisioning.AlternativeNames(leaf)
	if !bytes.Equal(leaf.RawSubject, t.subject) || t.san != nil && (san == nil || !bytes.Equal(san.Value, t.san.Value)) {
		c.Log.Warn("the CA has changed the names of the device", "device", t.name, "serial", leaf.SerialNumber.Text(16),
			"subject", leaf.Subject.String(), "before", t.old.Subject.String())
	}
	if !bytes.Equal(leaf.RawIssuer, t.old.RawIssuer) {
		c.Log.Info("the issuer has changed", "device", t.name, "issuer", leaf.Issuer.String(), "before", t.old.Issuer.String())
	}
}

// build returns the chain of leaf that most others can follow: the longest, since in a rollover that is the one with
// the cross-certificate, good for those who know only the old root and for those who know only the new one (RFC 7030,
// 4.1.3; RFC 4210, 4.4). Of two it is the one whose root lives longer. Without anchors every root counts that the
// server serves.
func build(leaf *x509.Certificate, others, anchors []*x509.Certificate) ([]*x509.Certificate, error) {
	options := x509.VerifyOptions{
		Roots:         x509.NewCertPool(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		// A leaf may begin in our future, where the clock is behind: it is pending until then, not broken.
		CurrentTime: later(time.Now(), leaf.NotBefore),
	}
	for _, x := range others {
		if anchors == nil && selfSigned(x) {
			options.Roots.AddCert(x)
		} else {
			options.Intermediates.AddCert(x)
		}
	}
	for _, x := range anchors {
		options.Roots.AddCert(x)
	}
	subject := *leaf
	subject.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), isNameOID)
	chains, err := subject.Verify(options)
	if err != nil {
		return nil, err
	}
	best := slices.MaxFunc(chains, func(a, b []*x509.Certificate) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return a[len(a)-1].NotAfter.Compare(b[len(b)-1].NotAfter)
	})
	best[0] = leaf
	return best, nil
}

// isNameOID is for names of a kind that Go does not know, such as a hardware module name (RFC 4108): they are the
// CA's business, and no reason to refuse our own certificate.
func isNameOID(id asn1.ObjectIdentifier) bool { return id.Equal(provisioning.OIDAlternativeNames) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func selfSigned(x *x509.Certificate) bool {
	return bytes.Equal(x.RawSubject, x.RawIssuer) && x.CheckSignatureFrom(x) == nil
}
