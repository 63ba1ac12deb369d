package dps

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

const (
	// answerTimeout is how long one request may stay without answer: as in Microsoft's Node SDK.
	answerTimeout = 30 * time.Second
	// defaultDelay is the wait where the service names none.
	defaultDelay = 2 * time.Second
)

// registration is one registration under way. It outlives the connection: an operation that the service has begun
// is asked for again over the next, so that one CSR becomes one certificate.
type registration struct {
	client    *Client
	id        string
	proof     proof
	csr       []byte  // DER; nil = none
	speech    speech  // of a registration with a csr
	session   session // nil where there is no connection
	operation string  // "" until the service has named it
	pace      pace
	tries     int   // transient answers in a row
	last      error // the last of them
}

// session carries requests to the service.
type session interface {
	// ask sends a request to register with body or, where operation is not "", to poll that, and returns the answer.
	ask(ctx context.Context, operation string, body []byte) (answer, error)
	close()
}

func (c *Client) registration(id string, p proof) *registration {
	return &registration{client: c, id: id, proof: p}
}

// run takes the registration to its end.
func (r *registration) run(ctx context.Context) (state, error) {
	deadline := r.client.config.Deadline
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("no assignment within %v", deadline))
	defer cancel()
	defer r.hangUp()
	body, err := r.body()
	if err != nil {
		return state{}, fault.As(fault.Permanent, err)
	}
	for {
		delay, end, err := r.step(ctx, body)
		if err != nil || end != nil {
			return valueOf(end), err
		}
		if err := r.wait(ctx, delay); err != nil {
			return state{}, err
		}
	}
}

func valueOf(s *state) state {
	if s == nil {
		return state{}
	}
	return *s
}

func (r *registration) body() ([]byte, error) {
	b := body{RegistrationID: r.id, Payload: r.client.config.Payload}
	if r.csr != nil {
		r.speech.csr(&b, r.csr)
	}
	if t, ok := r.proof.(*byTPM); ok {
		b.TPM = &t.keys
	}
	return json.Marshal(b)
}

// step sends the next request and says what follows from the answer: the end, or the next step after a delay.
func (r *registration) step(ctx context.Context, body []byte) (delay time.Duration, end *state, err error) {
	a, err := r.ask(ctx, body)
	if err != nil {
		delay, err := r.interrupted(ctx, err)
		return delay, nil, err
	}
	if a.status == http.StatusUnauthorized {
		return r.unauthorized(ctx, a)
	}
	return r.judge(a)
}

func (r *registration) ask(ctx context.Context, body []byte) (answer, error) {
	if r.session == nil {
		var err error
		if r.session, err = r.open(ctx); err != nil {
			return answer{}, err
		}
	}
	if r.operation != "" {
		if err := r.pace.poll(ctx); err != nil {
			return answer{}, err
		}
	}
	return r.session.ask(ctx, r.operation, body)
}

func (r *registration) open(ctx context.Context) (session, error) {
	if r.client.config.Transport == HTTPS {
		return r.overHTTPS(), nil
	}
	return r.overMQTT(ctx)
}

func (r *registration) hangUp() {
	if r.session != nil {
		r.session.close()
		r.session = nil
	}
}

// interrupted is about a connection that did not come about, or ended. Where the service has begun an operation, only
// our connection to it was lost, and it is asked for over the next one.
func (r *registration) interrupted(ctx context.Context, err error) (time.Duration, error) {
	r.hangUp()
	if r.operation == "" || fault.Of(err) != fault.Transient || ctx.Err() != nil {
		return 0, err
	}
	delay := max(r.growing(err), fault.RetryAfter(err))
	r.client.config.Log.Info("registration goes on over a new connection", "device", r.id, "operation", r.operation, "wait", delay, "err", err)
	return delay, nil
}

// unauthorized is the challenge to a TPM, or a refusal.
func (r *registration) unauthorized(ctx context.Context, a answer) (time.Duration, *state, error) {
	if t, ok := r.proof.(*byTPM); ok && r.operation == "" {
		if answered, err := t.answer(ctx, a.body); answered || err != nil {
			return 0, nil, err
		}
	}
	return 0, nil, r.refuse(a.serviceError())
}

// judge says what follows from an answer: the end, or the next request after a delay.
func (r *registration) judge(a answer) (delay time.Duration, end *state, err error) {
	switch {
	case a.transient():
		return r.again(a), nil, nil
	case a.status == http.StatusNotFound && r.operation != "":
		r.startOver()
		return r.again(a), nil, nil
	case a.status >= 300:
		return 0, nil, r.refuse(a.serviceError())
	}
	r.tries, r.last = 0, nil
	o, err := a.operation()
	if err != nil {
		return 0, nil, err
	}
	if done, err := r.finished(o); done {
		return 0, &o.State, err
	}
	if o.OperationID != "" {
		r.operation = o.OperationID
	}
	if err := checkOperation(r.operation); err != nil {
		return 0, nil, fault.As(fault.Permanent, err)
	}
	return or(a.after, defaultDelay), nil, nil
}

// startOver registers anew: the service has forgotten the operation.
func (r *registration) startOver() {
	r.operation = ""
	if t, ok := r.proof.(*byTPM); ok {
		t.ticket = nil
	}
}

// checkOperation sees to it that the name of an operation, which becomes part of a topic and of a path, is one.
func checkOperation(id string) error {
	const longest = 256
	if id == "" {
		return errors.New("the service names no operation to ask for")
	}
	if len(id) > longest || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/+#?&%", r) }) {
		return fmt.Errorf("the service names an operation that cannot be asked for: %.300q", id)
	}
	return nil
}

// again is the delay before a step is repeated: the one that the service names, or one that grows.
func (r *registration) again(a answer) time.Duration {
	delay := r.growing(a.serviceError())
	if a.after > 0 {
		delay = a.after
	}
	r.client.config.Log.Info("the provisioning service asks for patience", "device", r.id, "attempt", r.tries, "wait", delay, "err", r.last)
	return delay
}

// growing is a delay that doubles with each try.
func (r *registration) growing(err error) time.Duration {
	r.tries++
	r.last = err
	return defaultDelay << min(r.tries-1, 5)
}

// wait sleeps for d. A wait that the deadline does not leave time for ends at once, and says how long it should be.
func (r *registration) wait(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		err := fmt.Errorf("no assignment within %v", r.client.config.Deadline)
		return fault.Later(errors.Join(err, r.last), d)
	}
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func or(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

// pace keeps to five polls in ten seconds, the service's limit for a device.
type pace struct{ polls [5]time.Time }

func (p *pace) poll(ctx context.Context) error {
	const window = 10*time.Second + 200*time.Millisecond // and a little for the way
	if err := sleep(ctx, time.Until(p.polls[0].Add(window))); err != nil {
		return err
	}
	copy(p.polls[:], p.polls[1:])
	p.polls[len(p.polls)-1] = time.Now()
	return nil
}

// requestID is a GUID, a fresh one for each request.
func requestID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
