package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// credentials is plural in every client of Microsoft's; one page of the documentation has it singular.
	credentials = "$iothub/credentials/"
	issueSince  = "2025-08-01"   // first day of the API versions with these topics
	issueLife   = 12 * time.Hour // of a pending operation
	badIssue    = "Issue certificate request "
)

// The bodies that the hub was seen to answer.
type (
	acceptedBody struct {
		CorrelationID    string `json:"correlationId"`
		OperationExpires string `json:"operationExpires"`
	}
	issuedBody struct {
		CorrelationID string   `json:"correlationId"`
		Certificates  []string `json:"certificates"`
	}
	hubError struct {
		ErrorCode    int       `json:"errorCode"`
		Message      string    `json:"message"`
		TrackingID   string    `json:"trackingId"`
		TimestampUTC string    `json:"timestampUtc"`
		Info         *infoBody `json:"info"`
		RetryAfter   int       `json:"retryAfter,omitempty"`
	}
	bareHubError struct { // for a client that cannot read a null
		hubError
		Info *infoBody `json:"info,omitempty"`
	}
	infoBody struct {
		CorrelationID     string `json:"correlationId,omitempty"`
		CredentialError   string `json:"credentialError,omitempty"`
		CredentialMessage string `json:"credentialMessage,omitempty"`
		RequestID         string `json:"requestId,omitempty"`
		OperationExpires  string `json:"operationExpires,omitempty"`
	}
)

// denial is an error answer of the hub.
type denial struct {
	code  int
	text  string
	info  *infoBody
	after time.Duration
}

func (d *denial) body(omitInfo bool) []byte {
	seconds := int((d.after + time.Second - 1) / time.Second)
	e := hubError{d.code, d.text, newTrackingID(), stamp9(time.Now()), d.info, seconds}
	if omitInfo && d.info == nil {
		return marshal(bareHubError{hubError: e})
	}
	return marshal(e)
}

func issueTopic(status int, rid string) string {
	return fmt.Sprintf("%sres/%d/?$rid=%s", credentials, status, rid)
}

// ask takes a request for a certificate. Without a request ID, or from a device that has not subscribed to the
// answers, the hub was seen to say nothing at all.
func (s *hubSession) ask(p *publish, rid string) error {
	if !s.version.since(issueSince) {
		return badTopic(p.topic)
	}
	s.link.acknowledge(p)
	c := s.cloud
	c.log("hub", Asked, s.device.id, rid)
	c.mu.Lock()
	_, heard := s.device.listens(issueTopic(202, rid))
	c.mu.Unlock()
	if rid == "" || !heard {
		return nil
	}
	request, no := parseIssue(p.payload, s.device.id)
	if no != nil {
		s.deny(rid, no)
		return nil
	}
	switch err := s.trouble(AtIssue); {
	case errors.Is(err, ErrSilent):
		return nil
	case err != nil:
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok {
			return err
		}
		s.deny(rid, &denial{code: refusal.Code, text: refusal.Message, after: refusal.RetryAfter})
		return nil
	}
	s.begins(rid, request)
	return nil
}

func (s *hubSession) deny(rid string, no *denial) {
	c := s.cloud
	c.refuseAt(AtIssue, s.device.id)
	c.log("hub", Answered, s.device.id, fmt.Sprintf("%d %s", no.code, no.text))
	c.mu.Lock()
	defer c.mu.Unlock()
	s.device.tell(issueTopic(no.code/1000, rid), no.body(c.temper.OmitInfo))
}

// begins accepts the request, or says why it cannot be now.
func (s *hubSession) begins(rid string, r *issueRequest) {
	c, d := s.cloud, s.device
	c.mu.Lock()
	op, no := d.operate(rid, r)
	if no != nil {
		c.mu.Unlock()
		s.deny(rid, no)
		return
	}
	d.tell(issueTopic(202, rid), marshal(acceptedBody{op.correlation, stamp9(op.expires)}))
	fresh := d.pending != op
	d.pending = op
	delay := c.temper.IssueDelay
	c.mu.Unlock()
	switch {
	case !fresh:
		c.deliver(d)
	case delay == 0:
		c.finish(d, op, r.der)
	default:
		c.running.Go(func() { c.finishLater(d, op, r.der, delay) })
	}
}

// operate returns the operation that a request stands for: a new one, or the pending one where the device asks
// for the same again. It is where one pending operation keeps out another.
func (d *device) operate(rid string, r *issueRequest) (*operation, *denial) {
	if d.pending != nil && time.Now().After(d.pending.expires) {
		d.cancel()
	}
	old := d.pending
	if old != nil && old.rid == rid && old.csr == r.CSR {
		return old, nil
	}
	switch {
	case r.Replace == "" && old != nil:
		info := &infoBody{RequestID: old.rid, OperationExpires: stamp9(old.expires), CorrelationID: old.correlation}
		return nil, &denial{code: 409004, text: "A credential management operation is already active. Use the requestId in info to check the status of the existing request, or send a new request with 'replace' to cancel and start a new one.", info: info}
	case r.Replace != "" && r.Replace != "*" && (old == nil || old.rid != r.Replace):
		return nil, &denial{code: 412001, text: "No active certificate request found to replace. Ensure the request ID in the 'replace' property matches an existing pending request.", info: &infoBody{RequestID: r.Replace}}
	}
	d.cancel()
	op := &operation{rid: rid, csr: r.CSR, correlation: newGUID(), expires: time.Now().Add(issueLife)}
	op.cancelled = make(chan struct{})
	return op, nil
}

func (c *Cloud) finishLater(d *device, op *operation, der []byte, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		c.finish(d, op, der)
	case <-op.cancelled:
	case <-c.over:
	}
}

// finish issues the certificate, or says why the request is not fit for one.
func (c *Cloud) finish(d *device, op *operation, der []byte) {
	c.mu.Lock()
	if d.pending == op {
		op.status, op.body = c.outcome(d, op, der)
		op.done = true
	}
	c.mu.Unlock()
	c.deliver(d)
}

// outcome needs c.mu to be held.
func (c *Cloud) outcome(d *device, op *operation, der []byte) (int, []byte) {
	request, err := c.policy.check(der, d.id)
	if err != nil {
		info := &infoBody{CorrelationID: op.correlation, CredentialError: "400000", CredentialMessage: "CSR did not pass verification"}
		no := &denial{code: 400037, text: "Unable to complete the certificate request at this time: " + err.Error(), info: info}
		c.journal.refused[place{AtIssue, d.id}]++
		c.note("hub", Answered, d.id, fmt.Sprintf("%d %s", no.code, no.text))
		return 400, no.body(false)
	}
	chain, err := c.issue(d, request)
	if err != nil {
		return 500, (&denial{code: 500001, text: err.Error()}).body(c.temper.OmitInfo)
	}
	c.note("hub", Issued, d.id, "serial "+chain[0].SerialNumber.Text(16))
	return 200, marshal(issuedBody{op.correlation, encodeChain(chain)})
}

// deliver sends the result of the pending operation where there is one and the device listens. It stays pending
// until the device has it: the PUBACK where it asked for QoS 1.
func (c *Cloud) deliver(d *device) {
	c.mu.Lock()
	op, s := d.pending, d.session
	if !op.waits(d) {
		c.mu.Unlock()
		return
	}
	op.busy = true
	c.mu.Unlock()
	err := c.fault(AtIssued, d.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	op.busy = false
	if err != nil {
		c.note("hub", Faulted, d.id, fmt.Sprintf("%s: %v", AtIssued, err))
	}
	switch {
	case d.pending != op:
	case errors.Is(err, ErrSilent):
		d.pending = nil
	case err != nil:
		s.link.out.last()
	default:
		d.hand(op)
		c.note("hub", Delivered, d.id, fmt.Sprintf("%d to %s", op.status, op.rid))
	}
}

// waits reports whether the result can go out now.
func (op *operation) waits(d *device) bool {
	if op == nil || !op.done || op.busy || op.sent != nil || d.session == nil || time.Now().After(op.expires) {
		return false
	}
	_, heard := d.listens(issueTopic(op.status, op.rid))
	return heard
}

func (d *device) hand(op *operation) {
	op.sent = d.tell(issueTopic(op.status, op.rid), op.body)
	if op.sent != nil && op.sent.qos == 0 {
		d.pending = nil
	}
}

// validID is the form of a request ID that "replace" may name.
func validID(s string) bool {
	if len(s) < 4 || len(s) > 36 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}
