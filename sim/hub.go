package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	hubMessage = 256 << 10        // a message with its properties, "IoT Hub quotas and throttling"
	hubLimit   = hubMessage + 512 // the packet around it
	maxFilters = 5                // a device holds at a time, "Communicate with an IoT hub using MQTT"
	refusedQoS = 0x80
)

// hubSession is a device at the hub.
type hubSession struct {
	link    *link
	cloud   *Cloud
	device  *device
	version version
	will    *publish
	resumed bool
}

func (c *Cloud) acceptHub(l *link, p *connect) (handler, error) {
	host, id, v, err := parseHubUsername(p.username)
	switch {
	case err != nil:
		return nil, &Refusal{Code: 4, Message: err.Error()}
	case !strings.EqualFold(host, HubHost):
		return nil, &Refusal{Code: 5, Message: "this is not " + host}
	case id != p.clientID:
		return nil, &Refusal{Code: 5, Message: "client ID is not the device ID"}
	}
	t, err := c.ticket(id, l, p)
	if err != nil {
		return nil, &Refusal{Code: 5, Message: err.Error()}
	}
	if err := c.connectable(); err != nil {
		return nil, err
	}
	if err := c.fault(AtConnect, id); err != nil {
		c.log("hub", Faulted, id, fmt.Sprintf("%s: %v", AtConnect, err))
		return nil, err
	}
	return c.open(l, p, id, v, t)
}

// ticket is the token of a device, nil where it comes with a certificate, or why it is not accepted.
func (c *Cloud) ticket(id string, l *link, p *connect) (t *token, err error) {
	if len(p.password) > 0 {
		if t, err = parseToken(string(p.password)); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return t, c.admits(c.devices[id], l.chain, t)
}

// open judges once more, since the fault point let go of the lock, and gives the device its session.
func (c *Cloud) open(l *link, p *connect, id string, v version, t *token) (handler, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[id]
	if err := c.admits(d, l.chain, t); err != nil {
		return nil, &Refusal{Code: 5, Message: err.Error()}
	}
	if c.temper.OldCert == OldCertDiesAtConnect && t == nil {
		c.buryBefore(d, l)
	}
	s := &hubSession{link: l, cloud: c, device: d, version: v, will: p.will}
	if s.will != nil && !strings.HasPrefix(s.will.topic, d.events()) {
		return nil, &Refusal{Code: 5, Message: "will topic " + s.will.topic}
	}
	d.attach(s, p.clean)
	l.endsWith(t)
	return s, nil
}

// buryBefore makes the certificates older than the presented one unacceptable.
func (c *Cloud) buryBefore(d *device, l *link) {
	for i, issued := range c.issued[d.id] {
		if issued.leaf.Equal(l.chain[0]) {
			bury(c.issued[d.id][:i])
		}
	}
}

func (s *hubSession) present() bool { return s.resumed }

// begin sends again what the device has not acknowledged, and what it has waited for since.
func (s *hubSession) begin() {
	s.cloud.mu.Lock()
	s.device.expireLetters()
	for _, p := range s.device.flight {
		p.dup = true
		s.link.out.send(p.encode())
	}
	s.cloud.mu.Unlock()
	s.subscribed()
}

func (s *hubSession) end(orderly bool) {
	s.cloud.mu.Lock()
	if s.device.session == s {
		s.device.session = nil
		if !s.device.kept {
			s.device.forget()
		}
	}
	s.cloud.mu.Unlock()
	if !orderly && s.will != nil {
		s.lastWill()
	}
}

func (s *hubSession) lastWill() {
	if m, err := s.message(s.will); err == nil {
		m.Properties["iothub-MessageType"] = "Will"
		s.cloud.record(m)
	}
}

// acknowledged ends the session of a device that acknowledges out of turn (MQTT 3.1.1, 4.6), as Azure's protocol gateway
// does. What nothing waits for is passed over.
func (s *hubSession) acknowledged(id uint16) error {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	d := s.device
	switch at := slices.IndexFunc(d.flight, func(p *publish) bool { return p.id == id }); {
	case at < 0:
		return nil
	case at > 0:
		return fmt.Errorf("PUBACK %d before PUBACK %d, whose message came before", id, d.flight[0].id)
	}
	p := d.flight[0]
	d.flight = slices.Clone(d.flight[1:])
	if d.pending != nil && d.pending.sent == p {
		d.pending = nil
	}
	s.cloud.complete(d, p)
	return nil
}

func (s *hubSession) subscribe(one subscription) (byte, error) {
	if strings.HasPrefix(one.filter, credentials) && !s.version.since(issueSince) {
		return 0, fmt.Errorf("filter %s with api-version %s", one.filter, s.version)
	}
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	if s.cloud.policy.BasicTier && !strings.HasPrefix(one.filter, credentials) {
		return 0, fmt.Errorf("filter %s at a hub of the basic tier", one.filter)
	}
	_, again := s.device.filters[one.filter]
	if !s.device.may(one.filter) || !again && len(s.device.filters) >= maxFilters {
		return refusedQoS, nil
	}
	s.device.filters[one.filter] = min(one.qos, 1)
	return min(one.qos, 1), nil
}

// may reports whether the hub has such a filter for the device.
func (d *device) may(filter string) bool {
	trees := []string{"$iothub/twin/res/", "$iothub/twin/PATCH/properties/desired/", "$iothub/methods/POST/", d.inbox()}
	if !d.module() {
		trees = append(trees, credentials+"res/") // which are described for devices only
	}
	return d.module() && filter == d.path()+"/#" ||
		slices.ContainsFunc(trees, func(tree string) bool { return strings.HasPrefix(filter, tree) })
}

func (s *hubSession) subscribed() {
	s.cloud.deliver(s.device)
	s.cloud.post(s.device)
}

func (s *hubSession) unsubscribe(filter string) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	delete(s.device.filters, filter)
}

func (d *device) events() string { return d.path() + "/messages/events" }

// inbox is where messages to the device come, or those to the inputs of the module.
func (d *device) inbox() string {
	if d.module() {
		return d.path() + "/inputs/"
	}
	return d.path() + "/messages/devicebound/"
}

func (s *hubSession) publish(p *publish) error {
	path, query, _ := strings.Cut(p.topic, "/?")
	switch {
	case p.topic == s.device.events() || strings.HasPrefix(p.topic, s.device.events()+"/"):
		return s.telemetry(p)
	case strings.TrimSuffix(path, "/") == credentials+"POST/issueCertificate" && !s.device.module():
		return s.ask(p, parameter(query, "$rid"))
	case path == "$iothub/twin/GET", path == "$iothub/twin/PATCH/properties/reported":
		s.link.acknowledge(p)
		return s.answerTwin(path, query, p.payload)
	case strings.HasPrefix(path, "$iothub/methods/res/"):
		s.link.acknowledge(p)
		return s.answerMethod(path, parameter(query, "$rid"), p.payload)
	}
	return badTopic(p.topic)
}

// telemetry records a message, then acknowledges it.
func (s *hubSession) telemetry(p *publish) error {
	m, err := s.message(p)
	if err != nil {
		return err
	}
	wait, err := s.admitMessage()
	if err != nil {
		return err
	}
	if err := s.trouble(AtPublish); err != nil {
		return err
	}
	s.cloud.record(m)
	if err := s.trouble(AtPuback); err != nil {
		return err
	}
	s.link.acknowledgeIn(p, wait)
	return nil
}

func (s *hubSession) trouble(at Point) error {
	err := s.cloud.fault(at, s.device.id)
	if err != nil {
		s.cloud.log("hub", Faulted, s.device.id, fmt.Sprintf("%s: %v", at, err))
	}
	return err
}

func (s *hubSession) message(p *publish) (Message, error) {
	bag := strings.TrimPrefix(strings.TrimPrefix(p.topic, s.device.events()), "/")
	properties, err := parseBag(bag)
	if err != nil {
		return Message{}, err
	}
	if len(bag)+len(p.payload) > hubMessage {
		return Message{}, errors.New("message of more than 256 KB")
	}
	if p.retain {
		properties["mqtt-retain"] = "true"
	}
	return Message{
		Time:       time.Now(),
		Device:     s.device.id,
		Topic:      p.topic,
		Properties: properties,
		Body:       p.payload,
		DUP:        p.dup,
		QoS:        p.qos,
		Session:    s.link.number,
	}, nil
}
