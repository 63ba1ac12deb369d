package sim

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

const (
	dpsLimit   = 96 << 10 // of a message, "Azure IoT Hub Device Provisioning Service limits"
	dpsAnswers = "$dps/registrations/res/"
	dpsPut     = "$dps/registrations/PUT/iotdps-register/?"
	dpsGet     = "$dps/registrations/GET/iotdps-get-operationstatus/?"
)

// dpsSession is a device at the DPS.
type dpsSession struct {
	link         *link
	cloud        *Cloud
	registration string
	version      version
	filters      map[string]byte
	packetID     uint16
}

// acceptDPS judges a certificate by its chain, its dates and its name. Whether its owner is enrolled is
// answered to the registration, not to the connection.
func (c *Cloud) acceptDPS(l *link, p *connect) (handler, error) {
	scope, registration, v, err := parseDPSUsername(p.username)
	switch {
	case err != nil:
		return nil, &Refusal{Code: 4, Message: err.Error()}
	case scope != IDScope:
		return nil, &Refusal{Code: 5, Message: "unknown ID scope " + scope}
	case registration != p.clientID:
		return nil, &Refusal{Code: 5, Message: "client ID is not the registration ID"}
	case p.will != nil:
		return nil, &Refusal{Code: 5, Message: "a will: the DPS has none"}
	}
	c.mu.Lock()
	_, err = c.enrolledChain(registration, l.chain)
	c.mu.Unlock()
	if err != nil {
		return nil, &Refusal{Code: 5, Message: err.Error()}
	}
	if err := c.fault(AtDPSConnect, registration); err != nil {
		c.log("dps", Faulted, registration, err.Error())
		return nil, err
	}
	return &dpsSession{link: l, cloud: c, registration: registration, version: v, filters: map[string]byte{}}, nil
}

// enrolledChain is the verified chain of a device, or why it has none. The caller holds c.mu.
func (c *Cloud) enrolledChain(registration string, presented []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(presented) == 0 {
		return nil, fmt.Errorf("no client certificate")
	}
	leaf := presented[0]
	if !strings.EqualFold(leaf.Subject.CommonName, registration) {
		return nil, fmt.Errorf("certificate is for %q, the registration ID is %q", leaf.Subject.CommonName, registration)
	}
	if e := c.individual(registration); e != nil && e.Certificate != nil {
		return presented, exactly(leaf, e.Certificate)
	}
	return chainTo(presented, c.verified()...)
}

func exactly(leaf, want *x509.Certificate) error {
	now := time.Now()
	switch {
	case !bytes.Equal(leaf.Raw, want.Raw):
		return fmt.Errorf("not the enrolled certificate")
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		return fmt.Errorf("certificate is not in date")
	}
	return nil
}

// verified are the CAs that the DPS knows: the factory's root, and those of all groups. The caller holds c.mu.
func (c *Cloud) verified() []*x509.Certificate {
	all := []*x509.Certificate{c.pki.factory.root.cert}
	for _, e := range c.enrollments {
		if e.CA != nil {
			all = append(all, e.CA)
		}
	}
	return all
}

func (c *Cloud) individual(registration string) *Enrollment {
	for _, e := range c.enrollments {
		if e.CA == nil && strings.EqualFold(e.Registration, registration) {
			return e
		}
	}
	return nil
}

// enrollment finds who decides about a device: its individual enrollment, else the group of the lowest CA in
// its chain ("X.509 certificate attestation"). The caller holds c.mu.
func (c *Cloud) enrollment(registration string, chain []*x509.Certificate) *Enrollment {
	if e := c.individual(registration); e != nil {
		return e
	}
	for _, ca := range chain[1:] {
		for _, e := range c.enrollments {
			if e.CA.Equal(ca) {
				return e
			}
		}
	}
	return nil
}

func (s *dpsSession) present() bool       { return false }
func (s *dpsSession) begin()              {}
func (s *dpsSession) subscribed()         {}
func (s *dpsSession) acknowledged(uint16) {}
func (s *dpsSession) end(bool)            {}

func (s *dpsSession) subscribe(one subscription) (byte, error) {
	if !strings.HasPrefix(one.filter, dpsAnswers) {
		return 0x80, nil
	}
	s.filters[one.filter] = min(one.qos, 1)
	return min(one.qos, 1), nil
}

func (s *dpsSession) unsubscribe(filter string) { delete(s.filters, filter) }

func (s *dpsSession) publish(p *publish) error {
	put, isPut := strings.CutPrefix(p.topic, dpsPut)
	get, isGet := strings.CutPrefix(p.topic, dpsGet)
	parameters := put
	if isGet {
		parameters = get
	}
	rid := parameter(parameters, "$rid")
	if !isPut && !isGet || rid == "" {
		return badTopic(p.topic)
	}
	s.link.acknowledge(p)
	if isPut {
		return s.reply(rid, s.register(p.payload))
	}
	return s.reply(rid, s.poll(parameter(get, "operationId")))
}

// reply sends a result to where the device listens; a device that does not listen hears nothing.
func (s *dpsSession) reply(rid string, r result) error {
	if r.err != nil {
		return r.err
	}
	t := s.cloud.weather()
	parameters := "$rid=" + rid
	if wait := r.wait; wait > 0 {
		seconds := fmt.Sprintf("retry-after=%d", int((wait+time.Second-1)/time.Second))
		if t.Swapped {
			parameters = seconds + "&" + parameters
		} else {
			parameters += "&" + seconds
		}
	}
	out := &publish{topic: fmt.Sprintf("%s%d/?%s", dpsAnswers, r.status, parameters), payload: r.body}
	for filter, qos := range s.filters {
		if matches(filter, out.topic) {
			out.qos = qos
			s.packetID = s.packetID%0xffff + 1
			out.id = s.packetID
			s.link.out.send(out.encode())
			break
		}
	}
	return nil
}
