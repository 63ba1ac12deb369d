package dps

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
)

const (
	// answerTimeout is how long one request may stay without answer: as in Microsoft's Node SDK.
	answerTimeout = 30 * time.Second
	// defaultDelay is the wait where the service names none.
	defaultDelay = 2 * time.Second
)

var errSilent = errors.New("the service does not answer")

// registration is one registration under way. It outlives the connection: an operation that the service has begun
// is asked for again over the next, so that one CSR becomes one certificate.
type registration struct {
	client    *Client
	id        string
	cert      tls.Certificate
	body      []byte
	operation string // "" until the service has named it
	pace      pace
	tries     int   // transient answers in a row
	last      error // the last of them
}

// register takes the registration of id to its end.
func (c *Client) register(ctx context.Context, id string, cert tls.Certificate, csr []byte) (state, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Deadline, fmt.Errorf("no assignment within %v", c.config.Deadline))
	defer cancel()
	body, err := c.body(id, csr)
	if err != nil {
		return state{}, fault.As(fault.Permanent, err)
	}
	r := &registration{client: c, id: id, cert: cert, body: body}
	for {
		s, err := r.connected(ctx)
		if err == nil || !r.resumable(err) {
			return s, err
		}
		c.config.Log.Info("registration goes on over a new connection", "device", id, "operation", r.operation, "err", err)
		if err := r.wait(ctx, defaultDelay); err != nil {
			return state{}, err
		}
	}
}

// resumable reports whether there is an operation at the service that only our connection to it was lost of.
func (r *registration) resumable(err error) bool {
	return r.operation != "" && (errors.Is(err, mqtt.ErrLost) || errors.Is(err, errSilent))
}

// connected goes on with the registration over one connection.
func (r *registration) connected(ctx context.Context) (state, error) {
	answers := make(chan answer, 8)
	conn, err := mqtt.Dial(ctx, r.options(answers))
	if err != nil {
		return state{}, turnedAway(err, r.id)
	}
	defer conn.Close()
	if err := conn.Subscribe(ctx, answerFilter); err != nil {
		return state{}, err
	}
	for {
		a, err := r.ask(ctx, conn, answers)
		if err != nil {
			return state{}, err
		}
		delay, s, err := r.judge(a)
		if s != nil || err != nil {
			return valueOf(s), err
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

func (r *registration) options(answers chan<- answer) mqtt.Options {
	c := r.client.config
	return mqtt.Options{
		Host:        c.Endpoint,
		Address:     c.Connect,
		ClientID:    r.id,
		Username:    r.client.username(r.id),
		Certificate: r.cert,
		Roots:       c.Roots,
		Dial:        c.Dial,
		Receive: func(topic string, body []byte) {
			if a, ok := parseAnswer(topic, body); ok {
				select {
				case answers <- a:
				default: // nobody asked for so many
				}
			}
		},
	}
}

// ask sends the next request, register or poll, and returns the answer to it.
func (r *registration) ask(ctx context.Context, conn *mqtt.Conn, answers <-chan answer) (answer, error) {
	rid := requestID()
	topic, body := "$dps/registrations/PUT/iotdps-register/?$rid="+rid, r.body
	if r.operation != "" {
		if err := r.pace.poll(ctx); err != nil {
			return answer{}, err
		}
		topic, body = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="+rid+"&operationId="+r.operation, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errSilent)
	defer cancel()
	conn.Publish(topic, body)
	for {
		select {
		case a := <-answers:
			if a.rid == rid {
				return a, nil
			}
		case <-conn.Done():
			return answer{}, conn.Err()
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
}

// judge says what follows from an answer: the end, or the next request after a delay.
func (r *registration) judge(a answer) (delay time.Duration, end *state, err error) {
	switch {
	case a.transient():
		return r.again(a)
	case a.status >= 300 && r.operation != "" && a.status == 404:
		r.operation = "" // the service has forgotten it: register anew
		return r.again(a)
	case a.status >= 300:
		return 0, nil, refuse(a.serviceError(), r.id)
	}
	r.tries, r.last = 0, nil
	o, err := a.operation()
	if err != nil {
		return 0, nil, err
	}
	if done, err := o.finished(); done {
		return 0, &o.State, err
	}
	if o.OperationID != "" {
		r.operation = o.OperationID
	}
	if r.operation == "" {
		return 0, nil, fault.As(fault.Permanent, errors.New("the service names no operation to ask for"))
	}
	return or(a.after, defaultDelay), nil, nil
}

// again repeats a step after a delay: the one that the service names, or one that grows.
func (r *registration) again(a answer) (time.Duration, *state, error) {
	r.tries++
	r.last = a.serviceError()
	delay := or(a.after, defaultDelay<<min(r.tries-1, 5))
	r.client.config.Log.Info("the provisioning service asks for patience", "device", r.id, "attempt", r.tries, "wait", delay, "err", r.last)
	return delay, nil, nil
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
