package keys

import (
	"context"
	"errors"
	"fmt"
)

// Endorsed is a store whose chip is known to a cloud by its endorsement key: what TPM attestation at the Device
// Provisioning Service stands on ("TPM attestation", Microsoft Learn). It is found by type assertion.
type Endorsed interface {
	// Endorsement returns the endorsement key, by which the chip is enrolled, and the storage root key, which
	// Activate uses: TPM2B_PUBLIC each. They stay the same until the chip is cleared, the first one even then.
	Endorsement(ctx context.Context) (ek, srk []byte, err error)
	// Activate takes the authenticationKey that the cloud made for this chip alone. Its HMAC key is kept under name,
	// in the place of the one before, and has survived a power cut when Activate returns. What is not for this chip,
	// or damaged, is refused, and the key before stays.
	Activate(ctx context.Context, name string, blob []byte) error
	// HMAC returns the HMAC-SHA256 of data, made in the chip by the key kept under name; ErrNotFound where there is
	// none, ErrGone where the chip does not take it any more.
	HMAC(ctx context.Context, name string, data []byte) ([]byte, error)
}

func (w *with) Endorsement(ctx context.Context) (ek, srk []byte, err error) {
	e, ok := w.Store.(Endorsed)
	if !ok {
		return nil, nil, fmt.Errorf("read the endorsement key: %w", errors.ErrUnsupported)
	}
	return e.Endorsement(ctx)
}

func (w *with) Activate(ctx context.Context, name string, blob []byte) error {
	e, ok := w.Store.(Endorsed)
	if !ok {
		return fmt.Errorf("activate key %s: %w", name, errors.ErrUnsupported)
	}
	return e.Activate(ctx, name, blob)
}

func (w *with) HMAC(ctx context.Context, name string, data []byte) ([]byte, error) {
	e, ok := w.Store.(Endorsed)
	if !ok {
		return nil, fmt.Errorf("hmac with key %s: %w", name, errors.ErrUnsupported)
	}
	return e.HMAC(ctx, name, data)
}
