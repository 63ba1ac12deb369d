package iothub

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
	"github.com/devid-agent/devid-agent/telemetry"
)

// Issuer has the hub itself certify keys, over the session that carries the telemetry. Its Issue must not be called
// side by side with itself.
//
// A request survives lost sessions: it is sent again as it was, CSR and request ID, until it is answered or the key is
// another one. One that the hub remembers from before a restart of ours is replaced.
type Issuer struct {
	// Lend returns the session in force, or waits for one.
	Lend func(ctx context.Context) (telemetry.Conn, error)
	// Request makes the CSR (DER) for key.
	Request  func(ctx context.Context, commonName string, key crypto.Signer) ([]byte, error)
	Deadline time.Duration // for one call of Issue; default 10 min
	Log      *slog.Logger  // nil = silent

	open *application
}

// application is a request that the hub has not concluded.
type application struct {
	Application
	key    crypto.PublicKey
	tries  int
	killed int // sessions in a row that ended at the request
}

// Issue returns the chain that the hub has issued for key, leaf first.
func (i *Issuer) Issue(ctx context.Context, device string, key crypto.Signer) ([]*x509.Certificate, error) {
	deadline := i.Deadline
	if deadline == 0 {
		deadline = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, fmt.Errorf("no certificate from the hub within %v", deadline))
	defer cancel()
	a, err := i.application(ctx, device, key)
	if err != nil {
		return nil, err
	}
	chain, err := i.persist(ctx, a)
	if err != nil {
		i.leave(ctx, a, err)
		return nil, fmt.Errorf("certificate from the hub: %w", err)
	}
	i.open = nil
	return chain, nil
}

// leave prepares for the next call. A request that the hub has refused is over; one that was not concluded within a
// whole deadline is to be replaced.
func (i *Issuer) leave(ctx context.Context, a *application, err error) {
	if _, refused := errors.AsType[*ServiceError](err); refused && fault.Of(err) == fault.Permanent {
		i.open = nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		a.Replace = "*"
	}
}

// application is the request for key that is under way, or a new one.
func (i *Issuer) application(ctx context.Context, device string, key crypto.Signer) (*application, error) {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if ok && i.open != nil && public.Equal(i.open.key) {
		i.open.tries, i.open.killed = 0, 0
		return i.open, nil
	}
	csr, err := i.Request(ctx, device, key)
	if err != nil {
		return nil, err
	}
	i.open = &application{Application: Application{RequestID: requestID(), CSR: csr}, key: key.Public()}
	return i.open, nil
}

// persist tries until the request is concluded, ctx ends, or another try makes no sense.
func (i *Issuer) persist(ctx context.Context, a *application) ([]*x509.Certificate, error) {
	for {
		chain, err := i.attempt(ctx, a)
		if err == nil {
			return chain, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		wait, err := a.next(err)
		if err != nil {
			return nil, err
		}
		i.log().Info("certificate request goes on", "request", a.RequestID, "attempt", a.tries, "wait", wait)
		if !sleep(ctx, wait) {
			return nil, context.Cause(ctx)
		}
	}
}

func (i *Issuer) attempt(ctx context.Context, a *application) ([]*x509.Certificate, error) {
	conn, err := i.Lend(ctx)
	if err != nil {
		return nil, err
	}
	certifier, ok := conn.(Certifier)
	if !ok {
		return nil, fault.As(fault.Permanent, errors.New("this session issues no certificates"))
	}
	chain, err := certifier.Certify(ctx, a.Application)
	_, refused := errors.AsType[*ServiceError](err)
	a.Again = !refused // then the hub owes nothing
	return chain, err
}

// next decides how a request goes on that err has interrupted, or returns the error that ends it.
func (a *application) next(err error) (wait time.Duration, end error) {
	a.tries++
	if errors.Is(err, errCut) {
		if a.killed++; a.killed >= kills {
			return 0, fault.AskOperator(err, noManagement)
		}
	} else {
		a.killed = 0
	}
	if refused, ok := errors.AsType[*ServiceError](err); ok {
		return a.refused(refused, err)
	}
	if errors.Is(err, mqtt.ErrLost) {
		return time.Second, nil
	}
	if errors.Is(err, errSilent) && a.tries >= silences {
		return 0, fault.As(fault.Transient, fault.AskOperator(err, noManagement))
	}
	if fault.Of(err) != fault.Transient {
		return 0, err
	}
	return min(time.Second<<min(a.tries-1, 6), time.Minute), nil
}

const (
	// kills is how many sessions in a row may end at the request before we conclude that it is the request which
	// ends them: a hub without certificate management closes the connection, and with it telemetry.
	kills = 3
	// silences is how many requests in a row may stay without answer.
	silences = 3
)

func (i *Issuer) log() *slog.Logger {
	if i.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return i.Log
}

// requestID is a GUID. The hub takes 4 to 36 letters, digits and hyphens.
func requestID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
