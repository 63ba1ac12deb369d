package sim

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// outlived says that one of these certificates was made to expire, or nil. The caller holds c.mu.
func (c *Cloud) outlived(chain ...*x509.Certificate) error {
	for _, x := range chain {
		if c.expired[thumbprint(x)] {
			return errors.New("certificate expired: it was made to")
		}
	}
	return nil
}

// ExpireDevice makes every certificate of device die now, as if its last moment had come: what the services issued to it,
// what it presented last, and those whose SHA-256 thumbprints are registered. The session is dropped.
func (c *Cloud) ExpireDevice(id string) {
	c.edit(id, func(d *device) {
		for _, i := range c.issued[id] {
			c.expire(i.leaf)
		}
		c.expire(slices.Concat(c.estCA.issued[id], c.ezca.ca.issued[id])...)
		for _, t := range d.auth.Thumbprints {
			c.expirePrint(strings.ToLower(t))
		}
		if d.shown != nil {
			c.expire(d.shown)
		}
		d.drop()
	})
}

// ExpireEnrollment makes the certificates of an enrollment die now: those of one device, or the CAs of a group. An error
// says that there is no such enrollment, or that it attests by a key.
func (c *Cloud) ExpireEnrollment(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.enrollmentNamed(name)
	if e == nil {
		return unknownEnrollment(name)
	}
	some := false
	for _, x := range []*x509.Certificate{e.Certificate, e.Secondary, e.CA, e.SecondCA} {
		if x != nil {
			c.expire(x)
			some = true
		}
	}
	if !some {
		return &Refusal{Code: 409000, Message: fmt.Sprintf("enrollment %s has no certificate of its own: disable it", name)}
	}
	return nil
}

// expire needs c.mu to be held.
func (c *Cloud) expire(all ...*x509.Certificate) {
	for _, x := range all {
		c.expirePrint(thumbprint(x))
	}
}

func (c *Cloud) expirePrint(sha256 string) {
	if c.expired == nil {
		c.expired = map[string]bool{}
	}
	c.expired[sha256] = true
}

// enrollmentNamed finds an enrollment by its registration ID or group. The caller holds c.mu.
func (c *Cloud) enrollmentNamed(name string) *Enrollment {
	for _, e := range c.enrollments {
		if strings.EqualFold(e.name(), name) {
			return e
		}
	}
	return nil
}

func (e *Enrollment) name() string {
	if e.group() {
		return e.Group
	}
	return e.Registration
}

func unknownEnrollment(name string) *Refusal {
	return &Refusal{Code: 404000, Message: fmt.Sprintf("there is no enrollment %s", name)}
}
