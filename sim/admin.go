package sim

import (
	"crypto/x509"
	"encoding/pem"
	"strings"
)

// FactoryCA is the root that signed every bootstrap certificate, for Enroll.
func (c *Cloud) FactoryCA() *x509.Certificate { return c.pki.factory.root.cert }

// OperationalCA is the root of every certificate that DPS and hub issue, for another broker to trust.
func (c *Cloud) OperationalCA() *x509.Certificate { return c.pki.operational.root.cert }

// Auth is what a device or module at the hub must present. The zero value asks for a certificate that this cloud
// issued, or one of a CA whose owner has proved to have its key: "certificateAuthority".
type Auth struct {
	Thumbprints []string          // SHA-1 or SHA-256 of the leaf in hexadecimal digits: "selfSigned"
	CA          *x509.Certificate // a chain up to this CA is good too
	Keys        [][]byte          // a token signed with one of these, and no certificate: "sas"
}

// CreateDevice registers device at the hub, or changes what it must present. The ID of a module is "device/module";
// its device is registered with it.
func (c *Cloud) CreateDevice(id string, a Auth) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if parent, _, module := strings.Cut(id, "/"); module {
		c.place(parent)
	}
	d := c.place(id)
	d.auth = a
	d.edited()
}

// DisableDevice refuses the device from now on, with its modules, and drops its session without a packet, as the
// hub does.
func (c *Cloud) DisableDevice(id string) { c.edit(id, func(d *device) { c.setDisabled(d, true) }) }

// EnableDevice undoes DisableDevice.
func (c *Cloud) EnableDevice(id string) { c.edit(id, func(d *device) { c.setDisabled(d, false) }) }

// DeleteDevice forgets the device with its modules, and drops its session. What it sent stays on record.
func (c *Cloud) DeleteDevice(id string) { c.edit(id, c.remove) }

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
	c.mu.Lock()
	defer c.mu.Unlock()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.pki.serverRoot.Raw})
}

// ReplaceServerRoot gives all servers certificates of a new root, as Azure does every few years: RootsPEM is that one from
// now on. Connections that are open go on.
func (c *Cloud) ReplaceServerRoot() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pki.newServer(c.policy.ECDSAServer)
}
