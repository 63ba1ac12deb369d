// Package provisioning is what it means to enroll: to get a certificate for a key, and to be told which hub the
// device belongs to.
package provisioning

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
)

// Request is what an enrollment is asked for.
type Request struct {
	DeviceID string             // registration ID, and the common name of the certificate
	Key      crypto.Signer      // the key in hardware that the certificate is for; nil where none is wanted
	Current  *identity.Identity // nil on first boot
}

// ErrPending says that the request is with somebody who decides later. The next Enroll must be for the same key.
var ErrPending = errors.New("the request waits for a decision")

// Enroller turns a key into a place in the cloud.
type Enroller interface {
	// Enroll returns a certificate for r.Key and the hub that accepts it. Asking twice is legal; what the first
	// answer was is then forgotten by nobody but us.
	Enroll(ctx context.Context, r Request) (identity.Grant, error)
}

// Issuer certifies a key.
type Issuer interface {
	// Issue returns a chain for r.Key, leaf first.
	Issue(ctx context.Context, r Request) ([]*x509.Certificate, error)
}

// IssuerFunc is a function as an Issuer.
type IssuerFunc func(ctx context.Context, r Request) ([]*x509.Certificate, error)

// Issue implements Issuer.
func (f IssuerFunc) Issue(ctx context.Context, r Request) ([]*x509.Certificate, error) {
	return f(ctx, r)
}

// Assigner knows which hub a device belongs to.
type Assigner interface {
	// Assign returns the assignment of the device that cert belongs to.
	Assign(ctx context.Context, cert tls.Certificate) (identity.Assignment, error)
}

// Compose enrolls in two steps: i signs, then a places the device by its new certificate. While a fails, i is not asked
// again for the same key: a certificate may have cost a token that is good for one.
func Compose(i Issuer, a Assigner) Enroller { return &composed{issuer: i, assigner: a} }

type composed struct {
	issuer   Issuer
	assigner Assigner
	chain    []*x509.Certificate // issued and not placed yet, for the one goroutine that enrolls
}

func (c *composed) Enroll(ctx context.Context, r Request) (identity.Grant, error) {
	if err := c.issue(ctx, r); err != nil {
		return identity.Grant{}, fmt.Errorf("issue certificate: %w", err)
	}
	assignment, err := c.assigner.Assign(ctx, identity.Certificate(c.chain, r.Key))
	if err != nil {
		return identity.Grant{}, fmt.Errorf("assign hub: %w", err)
	}
	grant := identity.Grant{Assignment: assignment, Chain: c.chain}
	c.chain = nil
	return grant, nil
}

func (c *composed) issue(ctx context.Context, r Request) (err error) {
	if c.chain != nil && identity.CheckChain(c.chain, r.DeviceID, r.Key.Public(), time.Now()) == nil {
		return nil
	}
	c.chain, err = c.issuer.Issue(ctx, r)
	return err
}

// Fixed assigns every device to a: the hub is configured, there is no DPS.
func Fixed(a identity.Assignment) Assigner { return fixed(a) }

type fixed identity.Assignment

func (f fixed) Assign(context.Context, tls.Certificate) (identity.Assignment, error) {
	return identity.Assignment(f), nil
}

// Placed enrolls a device that has no certificate and shows tokens: place says where it belongs.
func Placed(place func(ctx context.Context, deviceID string) (identity.Assignment, error)) Enroller {
	return placed(place)
}

type placed func(context.Context, string) (identity.Assignment, error)

func (p placed) Enroll(ctx context.Context, r Request) (identity.Grant, error) {
	a, err := p(ctx, r.DeviceID)
	return identity.Grant{Assignment: a}, err
}

// Existing issues nothing: it returns the chain that the device has already, for the key that it was made for.
func Existing(chain []*x509.Certificate) Issuer { return existing(chain) }

type existing []*x509.Certificate

func (e existing) Issue(_ context.Context, r Request) ([]*x509.Certificate, error) {
	if r.Current != nil && r.Current.Certified() && r.Current.Leaf().Equal(e[0]) {
		return nil, fault.AskOperator(errors.New("the configured certificate is in force already"),
			"put a newer certificate into the file that bootstrap.certificate names, and restart the agent")
	}
	return e, nil
}

// Renewal is i for a device that stays where it is: the assignment of the identity in force is kept.
func Renewal(i Issuer) Enroller { return renewal{i} }

type renewal struct{ issuer Issuer }

func (n renewal) Enroll(ctx context.Context, r Request) (identity.Grant, error) {
	if r.Current == nil || !r.Current.Certified() {
		return identity.Grant{}, fault.As(fault.Permanent, errors.New("renew: there is no certificate to renew"))
	}
	chain, err := n.issuer.Issue(ctx, r)
	if err != nil {
		return identity.Grant{}, fmt.Errorf("renew certificate: %w", err)
	}
	return identity.Grant{Assignment: r.Current.Assignment, Chain: chain}, nil
}

// OIDAlternativeNames is the subject alternative name (RFC 5280, 4.2.1.6).
var OIDAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}

// AlternativeNames is that extension of x as it is encoded, nil where there is none.
func AlternativeNames(x *x509.Certificate) *pkix.Extension {
	i := slices.IndexFunc(x.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(OIDAlternativeNames) })
	if i < 0 {
		return nil
	}
	return &x.Extensions[i]
}

// SigningRequest is a PKCS#10 request (DER) for key with the common name cn and nothing else, signed with
// SHA-256: what every sample of the certificate-management preview sends (Microsoft Learn, "Certificate issuance").
func SigningRequest(_ context.Context, cn string, key crypto.Signer) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}, SignatureAlgorithm: x509.ECDSAWithSHA256}
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		template.SignatureAlgorithm = x509.SHA256WithRSA
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fault.As(fault.Of(err), fmt.Errorf("sign the certificate request of %s: %w", cn, err))
	}
	return der, nil
}
