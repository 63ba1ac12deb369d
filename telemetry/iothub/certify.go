package iothub

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
)

// The hub accepts a request (202) within a minute, and waiting half as long again is what Microsoft's samples do.
// The certificate (200) comes up to twelve hours later.
const acceptTimeout = 90 * time.Second

// pushDelay is how long a request that is sent again waits for the answer to the first, which the hub pushes to
// whoever subscribes: one CSR, one certificate.
const pushDelay = 2 * time.Second

const noManagement = "check that the hub has certificate management (linked to a device registry) and that hub.api_version is " +
	"2025-08-01-preview or newer; where it has none, set renewal.issuer to dps"

var (
	errSilent = errors.New("the hub does not answer the certificate request")
	// errCut is in the error of a session that ended when the hub was asked, before it had said anything.
	errCut = errors.New("the session ended at the certificate request")
)

// Application asks for one certificate.
type Application struct {
	RequestID string // 4 to 36 letters, digits and hyphens
	CSR       []byte // DER
	Replace   string // "*" cancels any other request of the device; "" leaves it
	Again     bool   // the same request was sent in an earlier session
}

// Certifier is a session on which the hub issues certificates for the device.
type Certifier interface {
	// Certify returns the chain that the hub issued for a, leaf first. What the hub answers instead is a *ServiceError.
	Certify(ctx context.Context, a Application) ([]*x509.Certificate, error)
}

// Certify returns the chain that the hub issued for a, leaf first. What the hub answers instead is a *ServiceError.
func (c *Conn) Certify(ctx context.Context, a Application) ([]*x509.Certificate, error) {
	if err := c.subscribe(ctx); err != nil {
		return nil, err
	}
	if a.Again {
		if chain, err := c.pushed(ctx, a); chain != nil || err != nil {
			return chain, err
		}
	}
	first, err := c.request(ctx, a)
	if err != nil {
		return nil, cut(err)
	}
	return c.conclude(ctx, a, first)
}

func cut(err error) error {
	if errors.Is(err, mqtt.ErrLost) {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return err
}

// subscribe asks for the answers, once per session. The hub sends none to who asks before that.
func (c *Conn) subscribe(ctx context.Context) error {
	var done bool
	select {
	case done = <-c.subscribed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { c.subscribed <- done }()
	if done {
		return nil
	}
	err := c.session.Subscribe(ctx, answerFilter)
	if fault.Of(err) == fault.Permanent {
		return fault.AskOperator(err, noManagement)
	}
	done = err == nil
	return cut(err)
}

// pushed is the answer that the hub may still owe to a request of an earlier session. Both results are nil where there
// is none.
func (c *Conn) pushed(ctx context.Context, a Application) ([]*x509.Certificate, error) {
	wait, cancel := context.WithTimeout(ctx, pushDelay)
	defer cancel()
	first, err := c.await(wait, a.RequestID)
	if err != nil {
		if wait.Err() != nil && ctx.Err() == nil {
			return nil, nil
		}
		return nil, err
	}
	return c.conclude(ctx, a, first)
}

// request sends a and returns the first answer to it.
func (c *Conn) request(ctx context.Context, a Application) (answer, error) {
	body, err := json.Marshal(struct {
		ID      string `json:"id"`
		CSR     string `json:"csr"`
		Replace string `json:"replace,omitempty"`
	}{c.device, base64.StdEncoding.EncodeToString(a.CSR), a.Replace})
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, acceptTimeout, errSilent)
	defer cancel()
	c.session.Publish(requestTopic+a.RequestID, body)
	return c.await(ctx, a.RequestID)
}

// conclude goes from answer to answer until one is final. A conflict with our own request is none: it is under way,
// and its certificate will be pushed to us.
func (c *Conn) conclude(ctx context.Context, a Application, next answer) ([]*x509.Certificate, error) {
	for {
		switch {
		case next.status == http.StatusOK:
			chain, err := next.chain()
			return chain, fault.As(fault.Permanent, err)
		case next.status == http.StatusAccepted:
		default:
			refused := next.serviceError()
			if !refused.active() || refused.RequestID != a.RequestID || a.Replace != "" {
				return nil, refused
			}
		}
		var err error
		if next, err = c.await(ctx, a.RequestID); err != nil {
			return nil, fmt.Errorf("wait for the certificate: %w", err)
		}
	}
}

// await returns the next answer to rid. One that was there when the session ended still counts.
func (c *Conn) await(ctx context.Context, rid string) (answer, error) {
	for {
		if a, ok := c.box.take(rid); ok {
			return a, nil
		}
		select {
		case <-c.box.news:
			continue
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		case <-c.session.Done():
		}
		if a, ok := c.box.take(rid); ok {
			return a, nil
		}
		return answer{}, c.session.Err()
	}
}
