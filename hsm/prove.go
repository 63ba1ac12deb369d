package hsm

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
)

// prove makes a signer of what was found, once it has signed.
func (s *Store) prove(ctx context.Context, name string, found wire.Key) (*key, error) {
	k, err := s.newKey(name, found)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("devid-agent: does this key sign?"))
	if _, err := k.sign(ctx, digest[:], crypto.SHA256, k.check); err != nil {
		return nil, err
	}
	if public, ok := k.public.(*rsa.PublicKey); ok {
		if err := k.probePSS(ctx, public, digest[:]); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// probePSS finds out whether the salt is as long as the hash, as TLS 1.3 wants it (RFC 8446, 4.2.3). Tokens on old
// TPMs make it as long as fits into the key; others have no PSS at all.
func (k *key) probePSS(ctx context.Context, public *rsa.PublicKey, digest []byte) error {
	opts := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	r, err := k.request(digest, opts)
	if err != nil {
		return err
	}
	a, err := k.store.ask(ctx, r, nil)
	if err != nil && (fault.Of(err) == fault.Transient || ctx.Err() != nil) {
		return err
	}
	if err == nil {
		err = verify(public, digest, a.Signature, opts)
		k.pss = err == nil
	}
	if err == nil {
		return nil
	}
	if rsa.VerifyPSS(public, crypto.SHA256, digest, a.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil {
		err = fmt.Errorf("its salt is not as long as the hash but as long as fits into the key")
	}
	k.store.log.Warn("token makes no RSA-PSS signatures that TLS 1.3 accepts: RSA keys sign PKCS #1 v1.5 only, for TLS 1.2",
		"part", "hsm", "key", k.name, "err", err, "hint", "set keys.algorithm: ecdsa-p256")
	return nil
}
