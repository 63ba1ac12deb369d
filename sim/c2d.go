package sim

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The limits of "Send cloud-to-device messages from an IoT hub" and of "IoT Hub quotas and throttling".
const (
	maxPending = 50 // messages of a device that it has not completed
	maxLetter  = 64 << 10
	letterLife = time.Hour // the default time to live
)

// The events of messages to a device.
const (
	Sent      Kind = "sent"      // the back end sent one; Detail has its ID
	Completed Kind = "completed" // the device has it
)

// ToDevice is a message to a device.
type ToDevice struct {
	ID         string            // made where it is empty
	Properties map[string]string // the application's, and system's as "$.cid" and "$.ct"
	Body       []byte            // with the properties at most 64 KB
	Life       time.Duration     // it is dropped after so long; 1 hour
	Input      string            // of the module that it is for; a device has none
}

// queued is one that the device has not completed.
type queued struct {
	id      string
	topic   string
	body    []byte
	expires time.Time
	sent    *publish // in this session
}

// SendC2D puts a message into the device's queue and returns its ID; one for a module goes to an input of it, which is how
// Azure IoT Edge has messages for modules. The device gets it at once, or when it comes and
// subscribes; its PUBACK completes it where it subscribed with QoS 1, the sending where it did with QoS 0. The error is a
// *Refusal with the hub's code: an unknown device, one that was never connected and so has no queue, a full queue.
func (c *Cloud) SendC2D(device string, m ToDevice) (id string, err error) {
	if m.ID == "" {
		m.ID = newGUID()
	}
	if m.Life == 0 {
		m.Life = letterLife
	}
	c.mu.Lock()
	d := c.devices[device]
	if d == nil {
		c.mu.Unlock()
		return "", unknownDevice(device)
	}
	q := &queued{id: m.ID, topic: d.inbox() + m.bag(d), body: m.Body, expires: time.Now().Add(m.Life)}
	if err = m.checkInput(d); err == nil {
		err = d.enqueue(q)
	}
	c.mu.Unlock()
	if err != nil {
		return "", err
	}
	c.log("hub", Sent, device, m.ID)
	c.post(d)
	return m.ID, nil
}

// PendingC2D is how many messages to device wait for their completion.
func (c *Cloud) PendingC2D(device string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[device]
	if d == nil {
		return 0
	}
	d.expireLetters()
	return len(d.letters)
}

func (d *device) enqueue(q *queued) error {
	d.expireLetters()
	switch {
	case !d.met:
		return &Refusal{Code: 404103, Message: fmt.Sprintf("device %s was never connected: it has no queue", d.id)}
	case len(d.letters) >= maxPending:
		return &Refusal{Code: 403004, Message: fmt.Sprintf("the queue of device %s is full: %d messages", d.id, maxPending)}
	case len(q.topic)-len(d.inbox())+len(q.body) > maxLetter:
		return &Refusal{Code: 413001, Message: "message of more than 64 KB"}
	}
	d.letters = append(d.letters, q)
	return nil
}

func (m ToDevice) checkInput(d *device) error {
	switch {
	case !d.module() && m.Input != "":
		return &Refusal{Code: 400004, Message: "a device has no inputs"}
	case d.module() && (m.Input == "" || strings.ContainsAny(m.Input, "/+#?") || !ascii(m.Input)):
		return &Refusal{Code: 400004, Message: fmt.Sprintf("a module takes messages at its inputs, and %q is no name of one", m.Input)}
	}
	return nil
}

// bag is how the properties travel in the topic, in the order of their names; for a module behind the name of the input.
func (m ToDevice) bag(d *device) string {
	all := maps.Clone(m.Properties)
	if all == nil {
		all = map[string]string{}
	}
	all["$.mid"] = m.ID
	if !d.module() {
		all["$.to"] = "/" + d.path() + "/messages/deviceBound"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, escape(k)+"="+escape(all[k]))
	}
	if d.module() {
		return m.Input + "/" + strings.Join(parts, "&")
	}
	return strings.Join(parts, "&")
}

// escape is RFC 3986: a space is %20.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// post sends what waits for the device, where it listens.
func (c *Cloud) post(d *device) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.expireLetters()
	for _, q := range slices.Clone(d.letters) {
		if q.sent != nil {
			continue
		}
		switch p := d.tell(q.topic, q.body); {
		case p == nil:
		case p.qos == 0:
			q.sent = p
			c.complete(d, p)
		default:
			q.sent = p
			c.lockLetter(d, q, p)
		}
	}
}

// lockLetter sends the message again where it is not acknowledged in the time of its lock. An acknowledgement after that
// time completes nothing. The caller holds c.mu.
func (c *Cloud) lockLetter(d *device, q *queued, p *publish) {
	if c.policy.LetterLock == 0 {
		return
	}
	time.AfterFunc(c.policy.LetterLock, func() {
		c.mu.Lock()
		mine := q.sent == p
		if mine {
			q.sent = nil
		}
		c.mu.Unlock()
		if mine {
			c.post(d)
		}
	})
}

// complete takes the message that travelled as p from the queue. The caller holds c.mu.
func (c *Cloud) complete(d *device, p *publish) {
	for i, q := range d.letters {
		if q.sent == p {
			d.letters = slices.Delete(d.letters, i, i+1)
			c.note("hub", Completed, d.id, q.id)
			return
		}
	}
}

// expireLetters drops what has outlived its time, also where it would go out again in the next session.
func (d *device) expireLetters() {
	now := time.Now()
	d.letters = slices.DeleteFunc(d.letters, func(q *queued) bool {
		if !now.After(q.expires) {
			return false
		}
		d.flight = slices.DeleteFunc(d.flight, func(p *publish) bool { return p == q.sent })
		return true
	})
}

// begins is a new session of the device. A clean one drops what waited ("Communicate with an IoT hub using MQTT").
func (d *device) begins(clean bool) {
	d.met = true
	if chain := d.session.link.chain; len(chain) > 0 {
		d.shown = chain[0]
	}
	if clean {
		d.letters = nil
	}
}

// unsend forgets what was sent in the session that ended without completion: it goes out again.
func (d *device) unsend() {
	for _, q := range d.letters {
		q.sent = nil
	}
}
