package renew

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/provisioning"
)

// Advance moves the device to its next identity: from none to the first, or from the one in force to a fresh one.
// When it returns nil the new identity is in force, on disk and at the hub. After an error the device is who it
// was; what had been granted and not refused is kept, and only its proof is repeated by the next call.
func (r *Renewer) Advance(ctx context.Context) error {
	pending, err := r.pending(ctx)
	if err != nil {
		return err
	}
	if err := r.Prove(ctx, pending); err != nil {
		return r.refuse(ctx, pending, err)
	}
	// A cut here: the hub knows the pending identity and may have forgotten the one in force. It is proven again.
	if err := r.Identities.Promote(); err != nil {
		return fault.As(fault.Fatal, err)
	}
	r.rest()
	r.refused, r.rescues = false, 0
	r.Log.Info("identity advanced", "identity", pending, "renew", words(r.When()))
	return r.Identities.Sweep(ctx)
}

func words(when time.Time) string {
	if when.IsZero() {
		return "never"
	}
	return when.UTC().Format(time.RFC3339)
}

// pending is the identity to prove: the one that waits already, or a new one.
func (r *Renewer) pending(ctx context.Context) (*identity.Identity, error) {
	r.around = false
	if id := r.Identities.Pending(); id != nil {
		if !id.Expired(r.now()) {
			return id, nil
		}
		if err := r.give(ctx, id, "expired before it was proven"); err != nil {
			return nil, err
		}
	}
	enroller, fixedKey := r.way(r.now())
	name, key, err := r.key(ctx, fixedKey)
	if err != nil {
		return nil, err
	}
	grant, err := enroller.Enroll(ctx, provisioning.Request{DeviceID: r.DeviceID, Key: key, Current: r.Identities.Current()})
	if err != nil {
		return nil, fmt.Errorf("enroll: %w", errors.Join(err, r.keep(name, err)))
	}
	// A cut here loses the certificate, and only that: one orphan at the issuer.
	return r.Identities.Stage(ctx, name, grant)
}

// keep spares the key of a request that is not decided yet.
func (r *Renewer) keep(key string, why error) error {
	if !errors.Is(why, provisioning.ErrPending) {
		return nil
	}
	return r.Identities.Keep(key)
}

// way chooses who certifies: the renewal with the identity in force where that is alive and accepted, else First.
// A wrong clock alone does not lead there: it also makes the servers' certificates look expired. Shortly before the end
// both are tried, each at its own pace: the way back may be closed for good, as by a bootstrap certificate that has expired.
func (r *Renewer) way(now time.Time) (e provisioning.Enroller, fixedKey string) {
	cur := r.Identities.Current()
	r.rescuing = cur != nil && (r.refused || cur.Expired(now))
	switch {
	case cur == nil, r.Renew == nil, r.rescuing, !cur.Certified():
		return r.First, r.FirstKey
	case urgent(cur.Leaf(), now) && r.Report().LastError != nil && !now.Before(r.detour):
		r.around = true
		r.Log.Warn("renewal keeps failing and the certificate is about to expire: enrolling from the beginning", "identity", cur)
		return r.First, r.FirstKey
	}
	return r.Renew, r.RenewKey
}

func (r *Renewer) key(ctx context.Context, fixed string) (string, crypto.Signer, error) {
	switch {
	case r.Tokens:
		return "", nil, nil
	case fixed == "":
		return r.Identities.NextKey(ctx)
	}
	key, err := r.Identities.OpenKey(ctx, fixed)
	return fixed, key, err
}

// refuse decides what an unproven identity is worth: all it cost where the hub was only out of reach, nothing
// where the hub said no.
func (r *Renewer) refuse(ctx context.Context, pending *identity.Identity, err error) error {
	err = fmt.Errorf("prove generation %d: %w", pending.Generation, err)
	if kind := fault.Of(err); kind == fault.Transient || kind == fault.Fatal {
		return err
	}
	r.rest()
	return errors.Join(err, r.give(ctx, pending, "refused"))
}

// rest spaces the ways back through First: a device that a person has disabled is not enrolled every minute.
func (r *Renewer) rest() {
	if r.rescuing {
		r.rescued, r.rescuing = r.now(), false
		r.rescues++
	}
}

func (r *Renewer) give(ctx context.Context, pending *identity.Identity, why string) error {
	r.Log.Warn("pending identity dropped", "identity", pending, "why", why)
	if err := r.Identities.Drop(); err != nil {
		return fault.As(fault.Fatal, err)
	}
	return r.Identities.Sweep(ctx)
}
