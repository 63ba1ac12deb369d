package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// registration is one operation of the DPS.
type registration struct {
	id     string
	name   string // registration ID
	ready  time.Time
	polled bool // once: the first poll is always answered "assigning"
	wish   *wish
	claim  *claim
	proof  *proof
	result *result
}

// result is what the DPS answers.
type result struct {
	status int
	wait   time.Duration // retry-after
	body   []byte
	code   int   // of an error
	asks   bool  // for a token, and says how to make it
	failed bool  // although the status is 200
	err    error // ends the session, or keeps it silent
}

// trouble is what the temper has to say at p, or nil.
func (c *Cloud) trouble(p Point, registration string) *result {
	err := c.fault(p, registration)
	if err == nil {
		return nil
	}
	c.log("dps", Faulted, registration, fmt.Sprintf("%s: %v", p, err))
	if no, ok := errors.AsType[*Refusal](err); ok {
		c.refuseAt(p, registration)
		r := no.result()
		return &r
	}
	return &result{err: err}
}

// register starts an operation. Codes and words of what it refuses are not documented but for their form:
// the status times 1000 and a number.
func (c *Cloud) register(q *claim, body []byte) result {
	c.log("dps", Registering, q.registration, fmt.Sprintf("%d bytes by %s", len(body), q.transport))
	if r := c.trouble(AtRegister, q.registration); r != nil {
		return *r
	}
	return c.answered(AtRegister, q, c.tryRegister(q, body))
}

// answered puts a refusal on record.
func (c *Cloud) answered(p Point, q *claim, r result) result {
	if r.err != nil || r.asks || r.status == 202 || r.status == 200 && !r.failed {
		return r
	}
	c.refuseAt(p, q.registration)
	c.log("dps", Answered, q.registration, string(r.body))
	return r
}

func (c *Cloud) tryRegister(q *claim, body []byte) result {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, err := c.parseWish(q, body)
	if err != nil {
		return refuse(400004, err.Error())
	}
	p, err := c.attest(q)
	if err != nil {
		return denied(q, err)
	}
	e := p.enrollment
	if e == nil {
		return refuse(404201, "Enrollment not found.")
	}
	c.asked[strings.ToLower(q.registration)] = q.asked(p, w)
	if e.Disabled {
		state := &stateBody{RegistrationID: q.registration, Status: "disabled"}
		return result{status: 200, failed: true, body: marshal(operationBody{"", "disabled", state})}
	}
	if code := c.temper.FailedBy; code != 0 && code != 400207 {
		return refuse(code, "Registration refused.")
	}
	op := &registration{id: newOperationID(), name: q.registration, ready: time.Now().Add(c.temper.Assigning), wish: w, claim: q, proof: p}
	c.operations.add(op)
	if c.temper.AtOnce {
		r := c.assign(op)
		op.result = &r
		return r
	}
	return result{status: 202, wait: c.temper.again(op), body: marshal(operationBody{OperationID: op.id, Status: "assigning"})}
}

// denied is the answer to a device that is not who it says.
func denied(q *claim, err error) result {
	if ask, ok := errors.AsType[*challenge](err); ok {
		return result{status: 401, asks: true, body: marshal(challengeBody{"Authorization required", ask.blob, skn})}
	}
	_, malformed := errors.AsType[*malformedClaim](err)
	switch {
	case malformed:
		return refuse(400004, err.Error())
	case errors.Is(err, errNotEnrolled):
		return refuse(404201, "Enrollment not found.")
	case q.token != nil || q.tpm != nil || len(q.chain) == 0:
		return refuse(401000, "Unauthorized: "+err.Error()+".")
	}
	return refuse(401002, "Invalid certificate.")
}

// again is when to poll the next time.
func (t Temper) again(op *registration) time.Duration {
	if t.RetryAfter != 0 {
		return max(t.RetryAfter, 0)
	}
	return min(max(time.Until(op.ready), time.Second), 3*time.Second)
}

// pollLimit is how many polls a device has in 10 s, "Azure IoT Hub Device Provisioning Service limits".
const pollLimit = 5

// poll tells how an operation stands.
func (c *Cloud) poll(q *claim, id string) result {
	c.log("dps", Polled, q.registration, id)
	if r := c.trouble(AtPoll, q.registration); r != nil {
		return *r
	}
	c.mu.Lock()
	r, fresh := c.tryPoll(q, id)
	c.mu.Unlock()
	r = c.answered(AtPoll, q, r)
	if fresh {
		if t := c.trouble(AtAssigned, q.registration); t != nil {
			return *t
		}
	}
	return r
}

// tryPoll needs c.mu to be held. It says whether the operation came to its end just now.
func (c *Cloud) tryPoll(q *claim, id string) (r result, fresh bool) {
	if q.transport == byHTTPS { // each request stands for itself
		if _, err := c.attest(q); err != nil {
			return denied(q, err), false
		}
	}
	if !c.temper.NoPollLimit && c.tooMany(q.registration) {
		return (&Refusal{Code: 429001, Message: "Too many polls.", RetryAfter: 10 * time.Second}).result(), false
	}
	op := c.operations.find(q.registration, id)
	if op == nil {
		return refuse(404202, "Operation not found."), false
	}
	if op.result != nil {
		return *op.result, false
	}
	if !op.polled || time.Now().Before(op.ready) {
		op.polled = true
		state := &stateBody{RegistrationID: op.name, Status: "assigning"}
		return result{status: 202, wait: c.temper.again(op), body: marshal(operationBody{op.id, "assigning", state})}, false
	}
	r = c.assign(op)
	op.result = &r
	return r, r.status == 200
}

func (c *Cloud) tooMany(registration string) bool {
	now := time.Now()
	var recent []time.Time
	for _, t := range c.polls[registration] {
		if now.Sub(t) < 10*time.Second {
			recent = append(recent, t)
		}
	}
	c.polls[registration] = append(recent, now)
	return len(recent) >= pollLimit
}

// lookup tells how the device is registered. It never tells the certificate again.
func (c *Cloud) lookup(q *claim, body []byte) result {
	if r := c.trouble(AtLookup, q.registration); r != nil {
		return *r
	}
	c.mu.Lock()
	r := c.tryLookup(q, body)
	c.mu.Unlock()
	return c.answered(AtLookup, q, r)
}

func (c *Cloud) tryLookup(q *claim, body []byte) result {
	w, err := c.parseWish(q, body)
	if err == nil && w.csr {
		err = errors.New("a csr in a lookup")
	}
	if err != nil {
		return refuse(400004, err.Error())
	}
	if _, err := c.attest(q); err != nil {
		return denied(q, err)
	}
	state := c.states[strings.ToLower(q.registration)]
	if state == nil {
		return refuse(404203, "Registration not found.")
	}
	return result{status: 200, body: marshal(state)}
}
