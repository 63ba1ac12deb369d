package ezca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/provisioning"
)

// skew is how far in the future a certificate may begin and still be used at once, as identity has it.
const skew = 5 * time.Minute

// tomorrowWait spares the CA: each try costs it a certificate.
const tomorrowWait = time.Hour

// chain is what TLS presents of the certificate that was issued: from the leaf for our key up to below its root. The
// error is Permanent, since the same request would bring the same answer, but for a certificate of tomorrow.
func (t task) chain(issued, known []*x509.Certificate) ([]*x509.Certificate, error) {
	leaf, err := t.leaf(issued)
	if err != nil {
		return nil, fault.As(fault.Permanent, err)
	}
	if early := time.Until(leaf.NotBefore); early > skew {
		return nil, fault.Later(fault.AskOperator(fmt.Errorf("the certificate begins at %s, and the clock says %s", leaf.NotBefore.UTC().Format(time.RFC3339),
			time.Now().UTC().Format(time.RFC3339)), "set the clock, or see that of the CA"), tomorrowWait)
	}
	chain, err := climb(leaf, slices.Concat(issued, known))
	if err != nil {
		return nil, fault.As(fault.Permanent, fault.AskOperator(err, "put the CA certificates of EZCA into a file, and set provisioning.ezca.issuers to it"))
	}
	if err := identity.CheckChain(chain, t.name, t.request.Key.Public(), time.Now()); err != nil {
		return nil, err
	}
	return chain, nil
}

// leaf is the certificate for our key, with the alternative names that it was asked for.
func (t task) leaf(issued []*x509.Certificate) (*x509.Certificate, error) {
	public, ok := t.request.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("public key of type %T", t.request.Key.Public())
	}
	i := slices.IndexFunc(issued, func(x *x509.Certificate) bool { return public.Equal(x.PublicKey) })
	if i < 0 {
		return nil, fmt.Errorf("the CA certified another key: it answers with %q", issued[0].Subject)
	}
	leaf := issued[i]
	if t.old != nil && leaf.Equal(t.old) {
		return nil, errors.New("the CA answers with the certificate that is in force already")
	}
	return leaf, t.names(leaf)
}

// names holds the alternative names of a certificate against those asked for. A first certificate may have more.
func (t task) names(leaf *x509.Certificate) error {
	if t.old == nil {
		if !slices.Contains(leaf.DNSNames, t.name) {
			return fmt.Errorf("the CA certified the DNS names %q, asked for was %q", leaf.DNSNames, t.name)
		}
		return nil
	}
	got := provisioning.AlternativeNames(leaf)
	switch {
	case t.san == nil && got == nil:
		return nil
	case t.san == nil || got == nil || !sameNames(t.san.Value, got.Value):
		return errors.New("the CA has changed the alternative names: the certificate does not have those of the one in force")
	}
	return nil
}

// compare tells of changes that the next renewal has to carry on.
func (t task) compare(leaf *x509.Certificate, log *slog.Logger) {
	if t.old == nil {
		return
	}
	if !bytes.Equal(leaf.RawSubject, t.subject) {
		log.Warn("the CA has changed the subject of the device", "device", t.name, "subject", leaf.Subject.String(), "before", t.old.Subject.String())
	}
	if !bytes.Equal(leaf.RawIssuer, t.old.RawIssuer) {
		log.Info("the issuer has changed", "device", t.name, "issuer", leaf.Issuer.String(), "before", t.old.Issuer.String())
	}
}

// climb returns leaf and the authorities above it, one of which must be there, up to below a root. Of those that signed
// the same it takes the one that lives longest.
func climb(leaf *x509.Certificate, all []*x509.Certificate) ([]*x509.Certificate, error) {
	chain := []*x509.Certificate{leaf}
	for len(chain) <= maxCertificates {
		top := chain[len(chain)-1]
		next := issuer(top, all)
		switch {
		case next == nil && len(chain) == 1:
			return nil, fmt.Errorf("the certificate is signed by %q, which is neither in the answer nor known", leaf.Issuer)
		case next == nil || slices.ContainsFunc(chain, next.Equal):
			return chain, nil
		case selfSigned(next):
			return chain, nil
		}
		chain = append(chain, next)
	}
	return nil, errors.New("the chain does not end")
}

func issuer(x *x509.Certificate, all []*x509.Certificate) (best *x509.Certificate) {
	for _, ca := range all {
		if bytes.Equal(ca.RawSubject, x.RawIssuer) && time.Now().Before(ca.NotAfter) && x.CheckSignatureFrom(ca) == nil &&
			(best == nil || ca.NotAfter.After(best.NotAfter)) {
			best = ca
		}
	}
	return best
}

func selfSigned(x *x509.Certificate) bool {
	return bytes.Equal(x.RawSubject, x.RawIssuer) && x.CheckSignatureFrom(x) == nil
}
