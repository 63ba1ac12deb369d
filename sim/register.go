package sim

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// csrSince is the first day of the API versions whose registration takes a CSR; older ones ignore it.
const csrSince = "2025-07-01"

// registration is one operation of the DPS.
type registration struct {
	id      string
	name    string // registration ID
	ready   time.Time
	polled  bool // once: the first poll is always answered "assigning"
	request *x509.CertificateRequest
	chain   []*x509.Certificate // verified, of the bootstrap certificate
	result  *result
}

// result is what the DPS answers.
type result struct {
	status int
	wait   time.Duration // retry-after
	body   []byte
	err    error // ends the session, or keeps it silent
}

// The bodies of "Communicate with DPS using MQTT".
type (
	operationBody struct {
		OperationID       string     `json:"operationId"`
		Status            string     `json:"status"`
		RegistrationState *stateBody `json:"registrationState,omitempty"`
	}
	stateBody struct {
		X509                   *x509Body       `json:"x509,omitempty"`
		RegistrationID         string          `json:"registrationId"`
		CreatedDateTimeUTC     string          `json:"createdDateTimeUtc,omitempty"`
		AssignedHub            string          `json:"assignedHub,omitempty"`
		DeviceID               string          `json:"deviceId,omitempty"`
		Status                 string          `json:"status"`
		Substatus              string          `json:"substatus,omitempty"`
		ErrorCode              int             `json:"errorCode,omitempty"`
		ErrorMessage           string          `json:"errorMessage,omitempty"`
		LastUpdatedDateTimeUTC string          `json:"lastUpdatedDateTimeUtc,omitempty"`
		Etag                   string          `json:"etag,omitempty"`
		IssuedCertificateChain json.RawMessage `json:"issuedCertificateChain,omitempty"`
	}
	x509Body struct {
		EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
	}
	dpsError struct {
		ErrorCode    int    `json:"errorCode"`
		TrackingID   string `json:"trackingId"`
		Message      string `json:"message"`
		TimestampUTC string `json:"timestampUtc"`
	}
)

func refuse(code int, message string) result {
	return (&Refusal{Code: code, Message: message}).result()
}

func (r *Refusal) result() result {
	body := dpsError{r.Code, newGUID(), r.Message, stamp7(time.Now())}
	return result{status: r.Code / 1000, wait: r.RetryAfter, body: marshal(body)}
}

// trouble is what the temper has to say at p, or nil.
func (s *dpsSession) trouble(p Point) *result {
	err := s.cloud.fault(p, s.registration)
	if err == nil {
		return nil
	}
	s.cloud.log("dps", Faulted, s.registration, fmt.Sprintf("%s: %v", p, err))
	if no, ok := errors.AsType[*Refusal](err); ok {
		r := no.result()
		return &r
	}
	return &result{err: err}
}

// register starts an operation. Codes and words of what it refuses are not documented but for their form:
// the status times 1000 and a number.
func (s *dpsSession) register(body []byte) result {
	s.cloud.log("dps", Registering, s.registration, fmt.Sprintf("%d bytes", len(body)))
	if r := s.trouble(AtRegister); r != nil {
		return *r
	}
	r := s.tryRegister(body)
	if r.status != 202 {
		s.cloud.log("dps", Answered, s.registration, string(r.body))
	}
	return r
}

func (s *dpsSession) tryRegister(body []byte) result {
	request, err := s.parse(body)
	if err != nil {
		return refuse(400004, err.Error())
	}
	c := s.cloud
	c.mu.Lock()
	defer c.mu.Unlock()
	chain, err := c.enrolledChain(s.registration, s.link.chain)
	if err != nil {
		return refuse(401002, "Invalid certificate.")
	}
	e := c.enrollment(s.registration, chain)
	if e == nil {
		return refuse(404201, "Enrollment not found.")
	}
	if e.Disabled {
		state := &stateBody{RegistrationID: s.registration, Status: "disabled"}
		return result{status: 200, body: marshal(operationBody{"", "disabled", state})}
	}
	if code := c.temper.FailedBy; code != 0 && code != 400207 {
		return refuse(code, "Registration refused.")
	}
	op := &registration{id: newOperationID(), name: s.registration, ready: time.Now().Add(c.temper.Assigning), request: request, chain: chain}
	c.operations[op.id] = op
	return result{status: 202, wait: c.temper.again(op), body: marshal(operationBody{OperationID: op.id, Status: "assigning"})}
}

// again is when to poll the next time.
func (t Temper) again(op *registration) time.Duration {
	if t.RetryAfter != 0 {
		return max(t.RetryAfter, 0)
	}
	return min(max(time.Until(op.ready), time.Second), 3*time.Second)
}

// parse reads the body of a registration, which may be empty.
func (s *dpsSession) parse(body []byte) (*x509.CertificateRequest, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	var in struct {
		RegistrationID *string         `json:"registrationId"`
		Payload        *map[string]any `json:"payload"`
		CSR            *string         `json:"csr"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("cannot decode the registration: %w", err)
	}
	if in.RegistrationID != nil && !strings.EqualFold(*in.RegistrationID, s.registration) {
		return nil, fmt.Errorf("registrationId %q is not the authenticated one", *in.RegistrationID)
	}
	if in.CSR == nil || !s.version.since(csrSince) {
		return nil, nil
	}
	der, err := decodeCSR(*in.CSR)
	if err != nil {
		return nil, err
	}
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	return s.cloud.policy.check(der, s.registration)
}

// pollLimit is how many polls a device has in 10 s, "Azure IoT Hub Device Provisioning Service limits".
const pollLimit = 5

// poll tells how an operation stands.
func (s *dpsSession) poll(id string) result {
	s.cloud.log("dps", Polled, s.registration, id)
	if r := s.trouble(AtPoll); r != nil {
		return *r
	}
	s.cloud.mu.Lock()
	r, fresh := s.tryPoll(id)
	s.cloud.mu.Unlock()
	if r.status >= 300 {
		s.cloud.log("dps", Answered, s.registration, string(r.body))
	}
	if fresh {
		if t := s.trouble(AtAssigned); t != nil {
			return *t
		}
	}
	return r
}

// tryPoll needs c.mu to be held. It says whether the operation came to its end just now.
func (s *dpsSession) tryPoll(id string) (r result, fresh bool) {
	c := s.cloud
	if !c.temper.NoPollLimit && c.tooMany(s.registration) {
		return (&Refusal{Code: 429001, Message: "Too many polls.", RetryAfter: 10 * time.Second}).result(), false
	}
	op := c.operations[id]
	if op == nil || !strings.EqualFold(op.name, s.registration) {
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

// assign registers the device at the hub and issues its certificate. The caller holds c.mu.
func (c *Cloud) assign(op *registration) result {
	state := &stateBody{
		RegistrationID:         op.name,
		CreatedDateTimeUTC:     stamp7(time.Now()),
		LastUpdatedDateTimeUTC: stamp7(time.Now()),
		Etag:                   base64.StdEncoding.EncodeToString([]byte(`"` + newGUID() + `"`)),
	}
	e := c.enrollment(op.name, op.chain)
	if c.temper.FailedBy == 400207 || e == nil {
		state.Status, state.ErrorCode, state.ErrorMessage = "failed", 400207, "Custom allocation failed with status code: 400"
		return result{status: 200, body: marshal(operationBody{op.id, "failed", state})}
	}
	d := c.place(e.deviceID(op.name))
	d.auth = Auth{CA: op.chain[len(op.chain)-1]}
	if e.Certificate != nil {
		d.auth = Auth{Thumbprints: []string{thumbprint(e.Certificate)}}
	}
	if err := c.certifyInto(state, d, op, e); err != nil {
		return refuse(500001, err.Error())
	}
	state.X509, state.AssignedHub, state.DeviceID = &x509Body{}, HubHost, d.id
	state.Status, state.Substatus = "assigned", "initialAssignment"
	c.note("dps", Assigned, op.name, "device "+d.id)
	return result{status: 200, body: marshal(operationBody{op.id, "assigned", state})}
}

// certifyInto answers a CSR. The certificate names the device as the hub knows it; where that differs from the
// registration ID, Azure's documentation does not say which one it bears.
func (c *Cloud) certifyInto(state *stateBody, d *device, op *registration, e *Enrollment) error {
	if op.request == nil {
		return nil
	}
	if e.NoPolicy {
		state.IssuedCertificateChain = json.RawMessage("null")
		return nil
	}
	chain, err := c.issue(d, op.request)
	if err != nil {
		return err
	}
	d.auth = Auth{}
	state.IssuedCertificateChain = marshal(encodeChain(chain))
	c.note("dps", Issued, d.id, "serial "+chain[0].SerialNumber.Text(16))
	return nil
}

func (e *Enrollment) deviceID(registration string) string {
	if e.DeviceID != "" {
		return e.DeviceID
	}
	return registration
}
