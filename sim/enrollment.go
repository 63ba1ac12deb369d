package sim

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// Enrollment is who may register at the DPS: one device (Registration), or all whose chain goes through CA, or all
// whose key comes from SymmetricKey. The cloud starts with one group for its own factory's root.
type Enrollment struct {
	Registration   string            // individual enrollment of this registration ID; "" is a group
	Certificate    *x509.Certificate // individual: exactly this leaf, also self-signed; nil: any whose chain is verified
	Secondary      *x509.Certificate // individual: or this leaf
	EndorsementKey []byte            // individual: of its TPM, a TPM2B_PUBLIC
	SymmetricKey   []byte            // individual: the device's key; group: the key that the devices' are derived from
	SecondaryKey   []byte            // or this one
	CA             *x509.Certificate // group enrollment: a verified CA
	SecondCA       *x509.Certificate // group enrollment: or this one
	Group          string            // the name of a group; "" is made from its CA or key
	DeviceID       string            // individual: the name at the hub; "" is the registration ID
	Disabled       bool
	NoPolicy       bool            // no credential policy is linked: a CSR is taken and no certificate comes back
	Payload        json.RawMessage // what a custom allocator has for the device; nil is nothing

	unproven bool   // a CA that need not be verified, since its chain must lead to one that is
	entry    *entry // as the service API shows it
}

// Enroll adds e, or replaces the enrollment of the same registration ID, group or CA.
func (c *Cloud) Enroll(e Enrollment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enroll(&e)
}

func (c *Cloud) enroll(e *Enrollment) {
	if e.group() && e.Group == "" {
		e.Group = e.madeName()
	}
	if e.entry == nil {
		e.entry = newEntry()
	}
	for i, old := range c.enrollments {
		if old.same(e) {
			c.enrollments[i] = e
			return
		}
	}
	c.enrollments = append(c.enrollments, e)
}

func (e *Enrollment) group() bool { return e.Registration == "" }

func (e *Enrollment) madeName() string {
	what := e.SymmetricKey
	if e.CA != nil {
		what = e.CA.Raw
	}
	return "group-" + hex.EncodeToString(sum256(what)[:8])
}

func (e *Enrollment) same(o *Enrollment) bool {
	switch {
	case e.group() != o.group():
		return false
	case e.group():
		return strings.EqualFold(e.Group, o.Group) || e.CA != nil && e.CA.Equal(o.CA)
	}
	return strings.EqualFold(e.Registration, o.Registration)
}

// keys are those of an individual enrollment or, derived, of a device in a group.
func (c *Cloud) keys(e *Enrollment, q *claim) [][]byte {
	all := [][]byte{e.SymmetricKey, e.SecondaryKey}
	if e.group() {
		all = [][]byte{c.derive(e.SymmetricKey, q), c.derive(e.SecondaryKey, q)}
	}
	return slices.DeleteFunc(all, func(k []byte) bool { return k == nil })
}

// DisableEnrollment adds a disabled individual enrollment, which goes before every group.
func (c *Cloud) DisableEnrollment(registration string) {
	c.Enroll(Enrollment{Registration: registration, Disabled: true})
}

// RemoveEnrollments forgets every enrollment; certificate authorities stay verified.
func (c *Cloud) RemoveEnrollments() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enrollments = nil
}
