package hsm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"time"
)

const (
	// trial is how many signatures in a row are verified before they are returned.
	trial = 8
	// soon is when a signature that was returned before is verified, if no question comes first.
	soon = 10 * time.Millisecond
)

// credit is what a key's signatures have earned.
type credit struct {
	with  *helper // another one starts from nothing
	right int     // in a row
}

// debt is a signature that was returned and is yet to be verified.
type debt struct {
	key               *key
	digest, signature []byte
}

// believe verifies the signature, or puts that off for a key that has the credit. Verifying RSA takes a fortieth of
// what signing does, so nothing is to be gained there.
func (k *key) believe(digest, signature []byte, opts crypto.SignerOpts) error {
	_, dear := k.public.(*ecdsa.PublicKey)
	if dear && k.credit.with == k.store.helper && k.credit.right >= trial && len(signature) > 0 {
		k.store.owed = &debt{k, bytes.Clone(digest), bytes.Clone(signature)}
		return nil
	}
	return k.check(digest, signature, opts)
}

// check verifies the signature.
func (k *key) check(digest, signature []byte, opts crypto.SignerOpts) error {
	err := verify(k.public, digest, signature, opts)
	if err != nil || k.credit.with != k.store.helper {
		k.credit = credit{with: k.store.helper}
	}
	if err == nil {
		k.credit.right++
	}
	return err
}

// settle verifies what is owed.
func (s *Store) settle() error {
	d := s.owed
	if d == nil {
		return nil
	}
	s.owed = nil
	err := verify(d.key.public, d.digest, d.signature, nil)
	if err == nil {
		return nil
	}
	d.key.credit = credit{}
	return fmt.Errorf("%w, and %s had given it out: its receiver will refuse it", err, d.key)
}

// audit settles when nobody asks: a helper that turns out to have lied is killed, and the next question starts another.
func (s *Store) audit() {
	err := s.settle()
	if err == nil {
		return
	}
	s.health.rungs[helpers].Add(1)
	t := lie(err)
	s.log.Warn("token needs healing", "part", "hsm", "by", helpers.String(), "err", t.err, "hint", t.hint)
	s.drop()
}
