package station

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/devid-agent/devid-agent/fault"
)

// EZCASigner has EZCA sign. It knows no serials of ours: an answer that is lost leaves a certificate with EZCA that
// nobody has, and ezca list shows it.
type EZCASigner struct {
	EZCA *EZCA
	CA   CA
	Days int
	// Owners and Requesters of names that are not registered yet. Without them a name must be registered before.
	Owners, Requesters []Person
}

// Sign implements Signer.
func (e EZCASigner) Sign(ctx context.Context, r *x509.CertificateRequest, _ string) ([]*x509.Certificate, error) {
	unregistered := e.register(ctx, r.Subject.CommonName)
	if unregistered != nil && fault.Of(unregistered) == fault.Transient {
		return nil, unregistered
	}
	chain, err := e.EZCA.Request(ctx, e.CA, r, e.Days)
	if err != nil {
		return nil, errors.Join(err, unregistered)
	}
	return chain, nil
}

// register registers the name of a device. EZCA refuses one that is registered, in words and without a code; whether it
// may be used is then for the request to find out.
func (e EZCASigner) register(ctx context.Context, name string) error {
	if len(e.Owners) == 0 {
		return nil
	}
	_, err := e.EZCA.Register(ctx, DomainRequest{CA: e.CA, Domain: name, Owners: e.Owners, Requesters: e.Requesters})
	return err
}
