package sim

import (
	"context"
	"crypto/x509"
	"slices"
	"time"
)

// Message is one telemetry message as the hub accepted it.
type Message struct {
	Time       time.Time
	Device     string // and its module, where one sent it: "device/module"
	Topic      string
	Properties map[string]string // decoded, application's and system's ("$.mid", "$.ct", …)
	Body       []byte
	DUP        bool // the device said that it may have sent it before
	QoS        byte
	Session    uint64 // counts connections to the cloud
}

// Event is something else that happened.
type Event struct {
	Time    time.Time
	Service string // "dps" or "hub"
	Kind    Kind
	Device  string // device ID; at the DPS registration ID
	Detail  string
}

// Kind says what happened.
type Kind string

// The kinds of events.
const (
	Connected    Kind = "connected"
	Refused      Kind = "refused" // in the TLS handshake or by CONNACK, Detail says why
	Disconnected Kind = "disconnected"
	Expired      Kind = "expired" // the token of a session
	Subscribed   Kind = "subscribed"
	Registering  Kind = "registering"
	Polled       Kind = "polled"
	Assigned     Kind = "assigned"
	Asked        Kind = "asked"     // for a certificate, by hub topic
	Issued       Kind = "issued"    // a certificate, by DPS or hub
	Delivered    Kind = "delivered" // the result of a request for a certificate was sent
	Answered     Kind = "answered"  // with an error, Detail has its code
	Faulted      Kind = "faulted"   // the temper struck
)

// Received returns every telemetry message of device that the hub accepted, in order, with duplicates. A module is
// the device "device/module".
func (c *Cloud) Received(device string) []Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.journal.received[device])
}

// Issued returns every certificate that DPS and hub ever issued to device, in order, the newest 10,000. Bootstrap
// certificates are not among them.
func (c *Cloud) Issued(device string) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*x509.Certificate
	for _, i := range c.issued[device] {
		all = append(all, i.leaf)
	}
	return all
}

// Requests returns the requests that the certificates of Issued were issued for.
func (c *Cloud) Requests(device string) []*x509.CertificateRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*x509.CertificateRequest
	for _, i := range c.issued[device] {
		all = append(all, i.request)
	}
	return all
}

// Events returns everything that happened, in order.
func (c *Cloud) Events() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.journal.events)
}

// Count is how many events of that kind device has had; "" counts all devices. It knows also of those that are
// no longer on record.
func (c *Cloud) Count(device string, k Kind) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if device == "" {
		return c.journal.totals[k]
	}
	return c.journal.counts[tally{k, device}]
}

// Refusals is how often the cloud has said no to device at these points, in whatever way: a CONNACK, an alert, an
// error answer, a registration that failed. "" counts all devices, no point counts all points.
func (c *Cloud) Refusals(device string, at ...Point) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for where, times := range c.journal.refused {
		if (device == "" || where.device == device) && (len(at) == 0 || slices.Contains(at, where.point)) {
			n += times
		}
	}
	return n
}

// Dropped is how many messages and events are no longer on record, since there are more than Policy.Keep.
func (c *Cloud) Dropped() (messages, events int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.journal.lostMessages, c.journal.lostEvents
}

// Online reports whether device has a session at the hub.
func (c *Cloud) Online(device string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[device]
	return d != nil && d.session != nil
}

// Wait returns when is says true. It is asked again after every event and message, and may call the cloud.
func (c *Cloud) Wait(ctx context.Context, is func() bool) error {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if is() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// log appends an event. It must be called without c.mu.
func (c *Cloud) log(service string, k Kind, device, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(service, k, device, detail)
}

// note is log for those who hold c.mu.
func (c *Cloud) note(service string, k Kind, device, detail string) {
	c.journal.event(Event{time.Now(), service, k, device, detail}, c.policy.Keep)
	c.notify()
}

// refuseAt counts a refusal. It must be called without c.mu.
func (c *Cloud) refuseAt(p Point, device string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p != "" {
		c.journal.refused[place{p, device}]++
	}
}

func (c *Cloud) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Cloud) record(m Message) {
	c.mu.Lock()
	c.journal.message(m, c.policy.Keep)
	c.notify()
	observe := c.policy.Observe
	c.mu.Unlock()
	if observe != nil {
		observe(m)
	}
}
