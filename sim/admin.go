package sim

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
)

// Enrollment is who may register at the DPS: one device (Registration) or all whose chain goes through CA.
// The cloud starts with one group for its own factory's root.
type Enrollment struct {
	Registration string            // individual enrollment of this registration ID
	Certificate  *x509.Certificate // individual: exactly this leaf, also self-signed; nil: any whose chain is verified
	DeviceID     string            // individual: the name at the hub; "" is the registration ID
	CA           *x509.Certificate // group enrollment: a verified CA
	Disabled     bool
	NoPolicy     bool // no credential policy is linked: a CSR is taken and no certificate comes back
}

// Enroll adds e, or replaces the enrollment of the same registration ID or CA.
func (c *Cloud) Enroll(e Enrollment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, old := range c.enrollments {
		if old.same(&e) {
			c.enrollments[i] = &e
			return
		}
	}
	c.enrollments = append(c.enrollments, &e)
}

func (e *Enrollment) same(o *Enrollment) bool {
	if e.CA != nil || o.CA != nil {
		return e.CA.Equal(o.CA)
	}
	return strings.EqualFold(e.Registration, o.Registration)
}

// FactoryCA is the root that signed every bootstrap certificate, for Enroll.
func (c *Cloud) FactoryCA() *x509.Certificate { return c.pki.factory.root.cert }

// OperationalCA is the root of every certificate that DPS and hub issue, for another broker to trust.
func (c *Cloud) OperationalCA() *x509.Certificate { return c.pki.operational.root.cert }

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

// Auth is what a device at the hub must present. The zero value asks for a certificate that this cloud issued.
type Auth struct {
	Thumbprints []string          // SHA-1 or SHA-256 of the leaf in hexadecimal digits: "selfSigned"
	CA          *x509.Certificate // a chain up to this CA, or to the one whose certificates the hub issues: "certificateAuthority"
}

// CreateDevice registers device at the hub, or changes what it must present.
func (c *Cloud) CreateDevice(id string, a Auth) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.place(id).auth = a
}

// DisableDevice refuses the device from now on and drops its session without a packet, as the hub does.
func (c *Cloud) DisableDevice(id string) {
	c.edit(id, func(d *device) { d.disabled = true; d.drop() })
}

// EnableDevice undoes DisableDevice.
func (c *Cloud) EnableDevice(id string) { c.edit(id, func(d *device) { d.disabled = false }) }

// DeleteDevice forgets the device and drops its session. What it sent stays on record.
func (c *Cloud) DeleteDevice(id string) {
	c.edit(id, func(d *device) { d.drop(); d.cancel(); delete(c.devices, id) })
}

// Disconnect drops the live session of the device; it may come again.
func (c *Cloud) Disconnect(id string) { c.edit(id, (*device).drop) }

// Revoke makes every certificate issued to the device so far unacceptable, as "Certificate revocation" says:
// the identifier that certificates carry is changed, the device stays enabled. The live session goes on.
func (c *Cloud) Revoke(id string) { c.edit(id, func(d *device) { d.unique = newUnique() }) }

func (c *Cloud) edit(id string, f func(*device)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.devices[id]; d != nil {
		f(d)
		c.notify()
	}
}

// RootsPEM is what a device must trust to talk to the DPS and the hub.
func (c *Cloud) RootsPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.pki.serverRoot.Raw})
}
