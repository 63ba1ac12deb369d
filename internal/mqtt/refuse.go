package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

// RefusedError says that the server turned us away: with a return code of MQTT's CONNACK, or with a TLS alert that
// names our certificate.
type RefusedError struct {
	Code  byte           // of the CONNACK, 1 to 5; 0 where it was an alert
	Alert tls.AlertError // of TLS; 0 where it was a CONNACK
}

var codes = [...]string{
	1: "unacceptable protocol version",
	2: "client identifier rejected",
	3: "server unavailable",
	4: "bad user name or password",
	5: "not authorized",
}

func (e *RefusedError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("certificate refused: %v (alert %d)", e.Alert, uint8(e.Alert))
	}
	return fmt.Sprintf("refused: %s (CONNACK %d)", codes[e.Code], e.Code)
}

// Identity reports whether it is who we are that the server does not accept, and not how or when we ask.
func (e *RefusedError) Identity() bool {
	return e.Code == 0 || e.Code == 2 || e.Code == 4 || e.Code == 5
}

func (e *RefusedError) kind() fault.Kind {
	if e.Code == 3 {
		return fault.Transient
	}
	return fault.Permanent
}

// refusal is err as a *RefusedError where it is one. In TLS 1.3 the server's alert comes where the CONNACK should.
func refusal(code byte, err error) error {
	if code >= 1 && code <= 5 {
		return &RefusedError{Code: code}
	}
	if alert, ok := mtls.Refused(err); ok {
		return &RefusedError{Alert: alert}
	}
	return err
}

// because prefers the reason why ctx ended to the error that its end caused.
func because(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// label says who can do something about a connection that did not come about.
func label(err error) error {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return fault.As(refused.kind(), err)
	}
	if labelled, ok := mtls.Distrust(err, time.Now(), mtls.Settings{Host: "the configuration", Roots: "the configured roots"}); ok {
		return labelled
	}
	return fault.As(fault.Of(err), err)
}
