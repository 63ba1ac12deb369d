package sim

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// claim is what a device presents at the DPS, by whatever transport.
type claim struct {
	registration string
	version      version
	transport    string
	chain        []*x509.Certificate // of the TLS connection
	token        *token              // nil: none
	tpm          *tpmBody            // HTTPS only; nil: none
}

// tpmBody are the public areas of a TPM's two keys, TPM2B_PUBLIC each, in base64.
type tpmBody struct {
	EndorsementKey string `json:"endorsementKey"`
	StorageRootKey string `json:"storageRootKey"`
}

// proof is a claim that holds.
type proof struct {
	enrollment *Enrollment         // nil: the device is who it says, and nobody has enrolled it
	chain      []*x509.Certificate // verified; nil: it was a key
	key        []byte              // the symmetric key that signed
	tpm        bool                // the key is in a TPM
}

// skn is the name of the key in a token for the DPS.
const skn = "registration"

// attest says whether a device is who it says, and who has enrolled it. A claim by TPM without a token is answered
// by a *challenge. The caller holds c.mu.
func (c *Cloud) attest(q *claim) (*proof, error) {
	e := c.individual(q.registration)
	switch {
	case q.token != nil:
		return c.attestKey(q, e)
	case q.tpm != nil:
		return nil, c.challenge(q, e)
	case e != nil && (e.SymmetricKey != nil || e.EndorsementKey != nil):
		return nil, errors.New("no token: the enrollment attests by a key")
	}
	chain, err := c.enrolledChain(q.registration, q.chain)
	if err == nil {
		err = c.outlived(chain...)
	}
	if err != nil {
		return nil, err
	}
	return &proof{enrollment: c.enrollment(q.registration, chain), chain: chain}, nil
}

// attestKey checks a token by the key of the individual enrollment, else by the one that a group's key leads to.
func (c *Cloud) attestKey(q *claim, e *Enrollment) (*proof, error) {
	resource := IDScope + "/registrations/" + q.registration
	if e != nil && e.Certificate != nil {
		return nil, errors.New("a token: the enrollment attests by a certificate")
	}
	if e != nil && e.EndorsementKey != nil {
		key := c.activated[strings.ToLower(q.registration)].key
		return &proof{enrollment: e, key: key, tpm: true}, q.token.check(resource, skn, key)
	}
	if e != nil && e.SymmetricKey != nil {
		return c.firstKey(q, e, resource, e.SymmetricKey, e.SecondaryKey)
	}
	err := errors.New("a token: no enrollment attests by a key")
	for _, g := range c.enrollments {
		if !g.group() || g.SymmetricKey == nil {
			continue
		}
		var p *proof
		if p, err = c.firstKey(q, g, resource, c.derive(g.SymmetricKey, q), c.derive(g.SecondaryKey, q)); err == nil {
			if e != nil {
				p.enrollment = e // individual enrollments go before groups
			}
			return p, nil
		}
	}
	return nil, err
}

func (c *Cloud) firstKey(q *claim, e *Enrollment, resource string, keys ...[]byte) (*proof, error) {
	var err error
	for _, key := range keys {
		if err = q.token.check(resource, skn, key); err == nil {
			return &proof{enrollment: e, key: key}, nil
		}
		if key != nil && q.token.signedBy([][]byte{key}) {
			return nil, err // the right key, and another mistake
		}
	}
	return nil, err
}

// derive is a device's key in a group, "Symmetric key attestation": the HMAC of its registration ID. Whether the
// service takes the ID in lower case is not documented.
func (c *Cloud) derive(groupKey []byte, q *claim) []byte {
	if groupKey == nil {
		return nil
	}
	id := q.registration
	if c.policy.LowerCaseKeys {
		id = strings.ToLower(id)
	}
	return mac(groupKey, id)
}

// DerivedKey is the key of a device whose group has this key, "Symmetric key attestation".
func DerivedKey(groupKey []byte, registration string) []byte { return mac(groupKey, registration) }

// challenge is the 401 that is none: a device with a TPM finds in it the key to sign with.
type challenge struct{ blob []byte }

func (c *challenge) Error() string { return "authorization required" }

// activation is the key that a device was challenged with, and its storage root key for the one that follows.
type activation struct {
	key, ek, srk []byte
}

// challenge always returns an error. The endorsement key must be the enrolled one; the storage root key is taken as
// it comes ("TPM attestation").
func (c *Cloud) challenge(q *claim, e *Enrollment) error {
	ek, err := base64.StdEncoding.DecodeString(q.tpm.EndorsementKey)
	if err != nil {
		return &malformedClaim{fmt.Errorf("endorsementKey: %w", err)}
	}
	srk, err := base64.StdEncoding.DecodeString(q.tpm.StorageRootKey)
	if err != nil {
		return &malformedClaim{fmt.Errorf("storageRootKey: %w", err)}
	}
	switch {
	case e == nil || e.EndorsementKey == nil:
		return errNotEnrolled
	case !bytes.Equal(ek, e.EndorsementKey):
		return errors.New("the endorsement key is not the enrolled one")
	}
	a := activation{key: newSecret(32), ek: ek, srk: srk}
	blob, err := wrapKey(ek, srk, a.key)
	if err != nil {
		return &malformedClaim{err}
	}
	c.activated[strings.ToLower(q.registration)] = a
	return &challenge{blob}
}

var errNotEnrolled = errors.New("enrollment not found")

// malformedClaim is a mistake in what a device sent, not in who it is.
type malformedClaim struct{ err error }

func (m *malformedClaim) Error() string { return m.err.Error() }

// enrolledChain is the verified chain of a device, or why it has none. The caller holds c.mu.
func (c *Cloud) enrolledChain(registration string, presented []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(presented) == 0 {
		return nil, errors.New("no client certificate")
	}
	leaf := presented[0]
	if !strings.EqualFold(leaf.Subject.CommonName, registration) {
		return nil, fmt.Errorf("certificate is for %q, the registration ID is %q", leaf.Subject.CommonName, registration)
	}
	if e := c.individual(registration); e != nil && e.Certificate != nil {
		return presented, exactly(leaf, e.Certificate, e.Secondary)
	}
	return chainTo(presented, c.verified()...)
}

func exactly(leaf, primary, secondary *x509.Certificate) error {
	now := time.Now()
	switch {
	case !leaf.Equal(primary) && (secondary == nil || !leaf.Equal(secondary)):
		return errors.New("not the enrolled certificate")
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return errors.New("certificate is not in date")
	}
	return nil
}

// verified are the CAs that the DPS knows: the factory's root, those of groups, and those whose owner has proved to
// have the key. The caller holds c.mu.
func (c *Cloud) verified() []*x509.Certificate {
	all := []*x509.Certificate{c.pki.factory.root.cert}
	for _, e := range c.enrollments {
		if e.CA != nil && !e.unproven {
			all = append(all, e.CA)
		}
	}
	return append(all, c.dpsCAs.proven()...)
}

func (c *Cloud) individual(registration string) *Enrollment {
	for _, e := range c.enrollments {
		if !e.group() && strings.EqualFold(e.Registration, registration) {
			return e
		}
	}
	return nil
}

// enrollment finds who decides about a device with a certificate: its individual enrollment, else the group of the
// lowest CA in its chain ("X.509 certificate attestation"). The caller holds c.mu.
func (c *Cloud) enrollment(registration string, chain []*x509.Certificate) *Enrollment {
	if e := c.individual(registration); e != nil {
		return e
	}
	for _, ca := range chain[1:] {
		for _, e := range c.enrollments {
			if e.CA.Equal(ca) || e.CA != nil && e.SecondCA.Equal(ca) {
				return e
			}
		}
	}
	return nil
}
