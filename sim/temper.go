package sim

import (
	"errors"
	"fmt"
	"time"
)

// Temper is how the cloud misbehaves. The zero value is a perfect cloud. Numbers count per device, from 1.
type Temper struct {
	Latency   time.Duration // every packet to a device comes this much later; packets stay in order
	Offline   bool          // nothing can be reached, and live sessions end
	TLS12Only bool          // as "TLS support in DPS" documents it; else TLS 1.3 is offered too
	// RefuseInHandshake judges the dates, the chain and the revocation of a client certificate during the TLS
	// handshake: the device gets an alert, and no CONNACK. One that comes by MQTT without a certificate gets one, too.
	RefuseInHandshake bool
	Server            ServerFault // what is wrong with the servers, but for EST, EZCA and Entra
	Web               WebFault    // what comes by HTTPS from the same servers instead of an answer

	Assigning     time.Duration // how long a registration stays "assigning"; it does so for at least one poll
	RetryAfter    time.Duration // in answers to register and poll; 0 is 1 s … 3 s by the time that is left, negative says nothing
	AtOnce        bool          // a registration is answered with its result instead of 202; when Azure does so is not documented
	EndsAs        string        // every registration ends with this status, "unassigned" or one that nobody knows; "" is as it should be
	Swapped       bool          // retry-after stands before $rid in the topic
	NoPollLimit   bool          // more than 5 polls in 10 s are answered too
	FailedBy      int           // every registration ends so: 400207 as "failed", 401002 or 404201 as an error object, …
	Throttle      int           // the first n registers, polls, issue requests and requests of programs each are answered 429
	ThrottleWait  time.Duration // what such an answer asks to wait; 2 s
	Broken        int           // the first n registers, polls, issue requests and requests of programs each are answered 500
	RefuseConnect int           // the first n connects to the hub are cut before CONNACK, as a throttled hub does

	ConnectRate int           // connections a second that the hub takes, of all devices; 0 is any. The next ones get CONNACK 3
	SendRate    int           // messages a second that the hub takes, of all devices; 0 is any. The next ones wait for their PUBACK
	SendBacklog time.Duration // how long a message waits at most; the session of one that would wait longer ends. 0 is for ever
	DailyQuota  int           // messages that the hub takes, of all devices; 0 is any. The next ones end their sessions

	LostAck     int // every n-th message arrives, its acknowledgement does not, and the session ends
	SilentAck   int // every n-th message arrives, its acknowledgement does not, and the session goes on
	DropSession int // every n-th message does not arrive, and the session ends

	IssueDelay time.Duration // between 202 and 200
	LostResult int           // the first n issued certificates are not delivered: the session ends instead; they wait
	NoResult   int           // the first n issued certificates are never delivered
	OldCert    OldCert       // when the certificates before the newest stop working
	OmitInfo   bool          // error answers lack "info" instead of carrying null: a preview of azure-sdk-for-c needs that

	EST   ESTTemper   // of the EST server alone
	EZCA  EZCATemper  // of EZCA alone
	Entra EntraTemper // of the token endpoint alone

	// Fault, where not nil, is asked last at every point. n counts how often the device came there, from 1.
	// ErrDrop ends the session, ErrSilent says nothing, *Refusal is the answer, nil lets things go on.
	Fault func(point Point, device string, n int) error
}

// OldCert says when earlier certificates die.
type OldCert uint8

// Azure's documentation says never: the old certificate remains valid until it expires.
const (
	OldCertLives         OldCert = iota
	OldCertDiesAtIssue           // of a newer one
	OldCertDiesAtConnect         // of a newer one
)

// Point is a place where something can go wrong.
type Point string

// The points, in the order in which a device comes by. The first three name a registration ID, the others a device ID.
const (
	AtDPSConnect Point = "dps-connect" // accepted, CONNACK not yet sent
	AtRegister   Point = "register"    // request arrived, not yet looked at
	AtPoll       Point = "poll"        // request arrived, not yet looked at
	AtLookup     Point = "lookup"      // request for the state of a registration arrived, not yet looked at
	AtAssigned   Point = "assigned"    // the device is registered and its certificate issued, the answer not yet sent
	AtConnect    Point = "connect"     // accepted by the hub, CONNACK not yet sent
	AtPublish    Point = "publish"     // telemetry arrived, not yet recorded
	AtPuback     Point = "puback"      // recorded, not yet acknowledged
	AtIssue      Point = "issue"       // a sound request for a certificate arrived
	AtIssued     Point = "issued"      // the certificate is issued, not yet delivered

	AtRegistry   Point = "registry"   // a request to the hub's registry arrived, of an identity
	AtEnrollment Point = "enrollment" // a request to the DPS's service API arrived, of an enrollment
	AtManagement Point = "management" // a request to the resource manager arrived, of a CA certificate
)

// What a Fault answers, beside *Refusal.
var (
	ErrDrop   = errors.New("the session is dropped")
	ErrSilent = errors.New("nothing is said")
)

// Refusal is an answer that says no.
type Refusal struct {
	Code       int // CONNACK return code at a connect, error code such as 429002 elsewhere
	Message    string
	RetryAfter time.Duration
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused with %d: %s", r.Code, r.Message) }

type place struct {
	point  Point
	device string
}

// fault says what goes wrong at p this time. It must be called without c.mu.
func (c *Cloud) fault(p Point, device string) error {
	c.mu.Lock()
	at := place{p, device}
	c.reached[at]++
	n, t := c.reached[at], c.temper
	c.mu.Unlock()
	if err := t.planned(p, n); err != nil {
		return err
	}
	if t.Fault != nil {
		return t.Fault(p, device, n)
	}
	return nil
}

func (t Temper) planned(p Point, n int) error {
	switch p {
	case AtRegister, AtPoll, AtLookup, AtRegistry, AtEnrollment, AtManagement:
		return t.busy(n, 429001, 500001)
	case AtIssue:
		return t.busy(n, 429002, 500001)
	case AtConnect:
		return when(n <= t.RefuseConnect, ErrDrop)
	case AtPublish:
		return when(every(t.DropSession, n), ErrDrop)
	case AtPuback:
		return errors.Join(when(every(t.LostAck, n), ErrDrop), when(every(t.SilentAck, n), ErrSilent))
	case AtIssued:
		return errors.Join(when(n <= t.LostResult, ErrDrop), when(n <= t.NoResult, ErrSilent))
	}
	return nil
}

func (t Temper) busy(n, throttled, broken int) error {
	switch {
	case n <= t.Throttle:
		wait := t.ThrottleWait
		if wait == 0 {
			wait = 2 * time.Second
		}
		return &Refusal{Code: throttled, Message: "Too many requests.", RetryAfter: wait}
	case n <= t.Throttle+t.Broken:
		return &Refusal{Code: broken, Message: "Internal server error."}
	}
	return nil
}

func every(k, n int) bool { return k > 0 && n%k == 0 }

func when(is bool, err error) error {
	if is {
		return err
	}
	return nil
}
