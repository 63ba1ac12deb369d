package sim

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// device is one entry of the hub's registry, and what the hub keeps for it between sessions.
// The cloud's mutex guards it.
type device struct {
	id       string
	auth     Auth
	disabled bool
	unique   uint64   // what certificates issued to it must carry
	entry    identity // as the registry shows it

	session *hubSession // the live one
	filters map[string]byte
	flight  []*publish // QoS 1 to the device, not acknowledged yet
	nextID  uint16
	kept    bool // filters and flight outlive the session: it was begun with clean session 0
	pending *operation
	twin    twin
	calls   map[string]*call  // direct methods that wait for an answer, by request ID
	letters []*queued         // messages that it has not completed
	met     bool              // it was connected once
	shown   *x509.Certificate // the leaf that it presented last
}

// place returns the entry of that ID, made where there is none. The caller holds c.mu.
func (c *Cloud) place(id string) *device {
	d := c.devices[id]
	if d == nil {
		d = &device{id: id, unique: newUnique(), filters: map[string]byte{}, twin: newTwin(), entry: newIdentity()}
		c.devices[id] = d
	}
	return d
}

// drop ends the live session without a packet.
func (d *device) drop() {
	if d.session != nil {
		d.session.link.kill()
		d.session = nil
	}
}

// cancel gives up the pending certificate operation.
func (d *device) cancel() {
	if d.pending != nil {
		close(d.pending.cancelled)
		d.pending = nil
	}
}

// setDisabled needs c.mu to be held.
func (c *Cloud) setDisabled(d *device, is bool) {
	if d.disabled != is {
		d.entry.statusUpdated = time.Now()
	}
	d.disabled = is
	d.edited()
	if is {
		c.withModules(d, (*device).drop)
	}
}

// remove needs c.mu to be held.
func (c *Cloud) remove(d *device) {
	c.withModules(d, func(d *device) {
		d.drop()
		d.cancel()
		delete(c.devices, d.id)
	})
}

func (c *Cloud) withModules(d *device, f func(*device)) {
	f(d)
	for id, m := range c.devices {
		if strings.HasPrefix(id, d.id+"/") {
			f(m)
		}
	}
}

// path is how topics and tokens name the device or module.
func (d *device) path() string {
	if parent, module, is := strings.Cut(d.id, "/"); is {
		return "devices/" + parent + "/modules/" + module
	}
	return "devices/" + d.id
}

func (d *device) module() bool { return strings.Contains(d.id, "/") }

// admits says why the hub does not accept a device with that chain or token, or nil. The caller holds c.mu.
func (c *Cloud) admits(d *device, presented []*x509.Certificate, t *token) error {
	if d == nil {
		return errors.New("device is not registered")
	}
	parent, _, _ := strings.Cut(d.id, "/")
	switch of := c.devices[parent]; {
	case d.disabled:
		return errors.New("device is disabled")
	case of == nil:
		return errors.New("device of the module is not registered")
	case of.disabled:
		return errors.New("device of the module is disabled")
	case t != nil:
		return c.admitsToken(d, t)
	case len(presented) == 0:
		return errors.New("no client certificate")
	case len(d.auth.Keys) > 0:
		return errors.New("a certificate: the device is registered with a key")
	}
	return c.admitsChain(d, presented)
}

func (c *Cloud) admitsToken(d *device, t *token) error {
	if c.policy.NoDeviceSAS {
		return errors.New("tokens of devices are switched off: disableDeviceSAS")
	}
	if t.name != "" && c.policy.PolicyTokens {
		return c.hubPolicies.check(t, connectDevice, HubHost, HubHost+"/"+d.path())
	}
	if len(d.auth.Keys) == 0 {
		return errors.New("a token: the device is registered with a certificate")
	}
	return t.check(HubHost+"/"+d.path(), "", d.auth.Keys...)
}

func (c *Cloud) admitsChain(d *device, presented []*x509.Certificate) error {
	leaf, now := presented[0], time.Now()
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate is not valid before %s", leaf.NotBefore)
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate expired at %s", leaf.NotAfter)
	case leaf.Subject.CommonName != d.id:
		return fmt.Errorf("certificate is for %q, the device is %q", leaf.Subject.CommonName, d.id)
	}
	if err := c.outlived(presented...); err != nil {
		return err
	}
	if len(d.auth.Thumbprints) > 0 {
		return d.auth.checkThumbprint(leaf)
	}
	chain, err := chainTo(presented, c.pki.operational.root.cert)
	others := c.hubCAs.proven()
	if d.auth.CA != nil {
		others = append(others, d.auth.CA)
	}
	if err != nil && len(others) > 0 {
		chain, err = chainTo(presented, others...)
	}
	if err != nil {
		return err
	}
	return c.alive(d, chain)
}

func (a Auth) checkThumbprint(leaf *x509.Certificate) error {
	for _, t := range a.Thumbprints {
		if strings.EqualFold(t, thumbprint(leaf)) || strings.EqualFold(t, thumbprint1(leaf)) {
			return nil
		}
	}
	return fmt.Errorf("thumbprint does not match configuration: SHA2Hash=%s", thumbprint(leaf))
}

func thumbprint(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// listens reports whether the device has subscribed to topic, and with which QoS.
func (d *device) listens(topic string) (qos byte, ok bool) {
	for filter, granted := range d.filters {
		if matches(filter, topic) {
			qos, ok = max(qos, granted), true
		}
	}
	return qos, ok
}

// tell sends to the device where it listens, and returns what it sent, or nil. What went out with QoS 1 is kept
// until the device acknowledges it.
func (d *device) tell(topic string, body []byte) *publish {
	qos, ok := d.listens(topic)
	if !ok || d.session == nil {
		return nil
	}
	p := &publish{topic: topic, payload: body, qos: qos}
	if qos > 0 {
		p.id = d.freshID()
		d.flight = append(d.flight, p)
	}
	d.session.link.out.send(p.encode())
	return p
}

func (d *device) freshID() uint16 {
	for {
		d.nextID = d.nextID%0xffff + 1
		used := false
		for _, p := range d.flight {
			used = used || p.id == d.nextID
		}
		if !used {
			return d.nextID
		}
	}
}

// attach makes s the live session: an older one is dropped, and its state is kept or forgotten as s asks.
func (d *device) attach(s *hubSession, clean bool) {
	d.drop()
	s.resumed = d.kept && !clean
	if !s.resumed {
		d.forget()
	}
	d.kept = !clean
	d.session = s
	d.begins(clean)
}

func (d *device) forget() {
	clear(d.filters)
	d.flight = nil
	d.unsend()
	if d.pending != nil {
		d.pending.sent = nil
	}
}

// operation is the issue of one certificate, asked for by hub topic. It outlives sessions.
type operation struct {
	rid, csr    string
	correlation string
	expires     time.Time
	done        bool // what follows is filled in
	status      int
	body        []byte
	busy        bool          // somebody is about to send it
	sent        *publish      // in this session
	cancelled   chan struct{} // closed when it is given up
}
