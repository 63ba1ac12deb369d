package station

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

// Founding is what a new authority is to be.
type Founding struct {
	Dir          string // made where it does not exist
	Kind         string // Root, Company, Factory or Technician
	Name         string // common name
	Organization string // may be empty
	Days         int    // of its own certificate; 25, 15, 5 and 1 years when zero
	Place        Place
	Policy       Policy       // the zero Policy is DefaultPolicy
	Parent       *Authority   // who certifies it; nil for a root, and where the parent is elsewhere
	Step         durable.Step // asked before and after each change of Dir; nil never objects
}

// Found makes the authority and returns it. Where its parent is elsewhere it returns ErrUnfinished: a request lies in
// request.pem. It may be cut anywhere and called again with the same Founding; an authority that is complete stays as it
// is, and is an error.
func Found(ctx context.Context, f Founding) (*Authority, error) {
	a, err := found(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", f.Dir, err)
	}
	return a, nil
}

func found(ctx context.Context, f Founding) (*Authority, error) {
	c, err := f.charter()
	if err != nil {
		return nil, err
	}
	dir, err := durable.Open(f.Dir, f.Step)
	if err != nil {
		return nil, err
	}
	a := &Authority{charter: c, dir: dir, step: f.Step}
	if err := a.begin(); err != nil {
		return nil, err
	}
	if err := a.openParts(); err != nil {
		return nil, err
	}
	if err := a.complete(ctx, f.Parent); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (f Founding) charter() (charter, error) {
	c := charter{Kind: f.Kind, Name: f.Name, Organization: f.Organization, Days: f.Days, Place: f.Place, Policy: f.Policy}
	kind, known := kinds[f.Kind]
	switch {
	case !known:
		return c, fault.AskOperator(fmt.Errorf("unknown kind %q", f.Kind), "choose root, company, factory or technician")
	case f.Name == "" || len(f.Name) > 64:
		return c, fault.AskOperator(errors.New("its name is missing or longer than 64 characters"), "give a name: --cn")
	case f.Kind == Root && f.Parent != nil:
		return c, fault.AskOperator(errors.New("a root has nobody above it"), "leave --parent out, or make a company")
	}
	if c.Days == 0 {
		c.Days = kind.days
	}
	if c.Policy.CN == "" && c.Policy.MaxDays == 0 && c.Policy.Keys == nil {
		c.Policy = DefaultPolicy()
	}
	if err := c.Policy.check(); err != nil {
		return c, err
	}
	return c, c.Place.Check()
}

// begin writes the charter down, or takes up the one that a cut left. The name of the key is in it before the key is
// made, so that no key in hardware is left without somebody who knows it.
func (a *Authority) begin() error {
	wanted := a.charter
	switch err := a.readCharter(); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case a.charter.Kind != wanted.Kind || a.charter.Name != wanted.Name:
		return a.exists()
	default:
		if _, err := a.dir.Read(chainFile); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(a.exists(), err)
		}
		return nil
	}
	random := make([]byte, 4)
	_, _ = rand.Read(random) // crypto/rand.Read returns no error (Go 1.24)
	wanted.Key = "ca-" + wanted.Kind + "-" + hex.EncodeToString(random)
	a.charter = wanted
	b, err := json.MarshalIndent(wanted, "", "  ")
	if err != nil {
		return err
	}
	return a.dir.Write(charterFile, append(b, '\n'))
}

func (a *Authority) exists() error {
	return fault.AskOperator(fmt.Errorf("there is a %s authority %q already", a.charter.Kind, a.charter.Name), "name another directory")
}

// complete makes the key and gets it certified.
func (a *Authority) complete(ctx context.Context, parent *Authority) (err error) {
	a.key, err = a.store.Create(ctx, a.charter.Key)
	if errors.Is(err, keys.ErrExists) {
		a.key, err = a.store.Open(ctx, a.charter.Key)
	}
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: a.charter.subject(), SignatureAlgorithm: hashFor(a.key)}, a.key)
	if err != nil {
		return fmt.Errorf("sign its request: %w", err)
	}
	if err := a.dir.Write(requestFile, EncodeRequest(der)); err != nil {
		return err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if a.chain, err = a.certified(request, parent); err != nil {
		return err
	}
	return a.dir.Write(chainFile, []byte(identity.EncodeChain(a.chain))) // the commit
}

func (a *Authority) certified(request *x509.CertificateRequest, parent *Authority) ([]*x509.Certificate, error) {
	switch {
	case a.charter.Kind == Root:
		return a.certify(request, a.charter.Kind, a.charter.Days)
	case parent != nil:
		return parent.Certify(request, a.charter.Kind, a.charter.Days)
	}
	return nil, fault.AskOperator(ErrUnfinished, "have "+a.dir.File(requestFile)+
		" certified above: devid-station ca certify; then devid-station ca install")
}

func (c charter) subject() pkix.Name {
	n := pkix.Name{CommonName: c.Name}
	if c.Organization != "" {
		n.Organization = []string{c.Organization}
	}
	return n
}

// Install puts the chain in force that was made for the request of the authority in dir. The chain ends in a
// self-signed certificate.
func Install(ctx context.Context, dir string, chain []*x509.Certificate) (*Authority, error) {
	a, err := openAuthority(ctx, dir, nil)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", dir, err)
	}
	if err := a.install(chain); err != nil {
		return nil, errors.Join(fmt.Errorf("authority %s: %w", dir, err), a.Close())
	}
	return a, nil
}

func (a *Authority) install(chain []*x509.Certificate) error {
	wrong := func(err error) error {
		return fault.AskOperator(err, "install what devid-station ca certify made for "+a.dir.File(requestFile))
	}
	if err := CheckChain(chain, a.key.Public()); err != nil {
		return wrong(err)
	}
	top := chain[len(chain)-1]
	switch {
	case !chain[0].IsCA:
		return wrong(fmt.Errorf("the certificate of %s is not one of an authority", chain[0].Subject))
	case top.CheckSignatureFrom(top) != nil:
		return wrong(fmt.Errorf("the chain ends with %s, which is no root", top.Subject))
	}
	a.chain = chain
	return a.dir.Write(chainFile, []byte(identity.EncodeChain(chain)))
}

// hashFor is the signature that chips and hubs have in common: SHA-256, and PKCS #1 v1.5 for RSA.
func hashFor(key crypto.Signer) x509.SignatureAlgorithm {
	if _, ok := key.Public().(*rsa.PublicKey); ok {
		return x509.SHA256WithRSA
	}
	return x509.ECDSAWithSHA256
}
