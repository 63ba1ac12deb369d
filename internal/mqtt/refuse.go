package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/devid-agent/devid-agent/fault"
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

// certificateAlerts are those with which a server says that our certificate is not good (RFC 8446, 6.2).
var certificateAlerts = []tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	49,  // access_denied
	116, // certificate_required
}

// remoteAlert is the Op of the *net.OpError in which crypto/tls reports an alert of the other side.
const remoteAlert = "remote error"

// refusal is err as a *RefusedError where it is one. In TLS 1.3 the server judges our certificate after the
// handshake is over for us, so that its alert comes where the CONNACK should.
func refusal(code byte, err error) error {
	if code >= 1 && code <= 5 {
		return &RefusedError{Code: code}
	}
	remote, ok := errors.AsType[*net.OpError](err)
	if !ok || remote.Op != remoteAlert {
		return err
	}
	for _, alert := range certificateAlerts {
		if remote.Err.Error() == alert.Error() { // the alert's own type is private to crypto/tls
			return &RefusedError{Alert: alert}
		}
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
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return distrust(err, untrusted.UnverifiedCertificates[0], time.Now())
	}
	return fault.As(fault.Of(err), err)
}

// distrust explains why the server's certificate is not good for us. A clock that is behind is the most frequent
// reason on a device without a battery, and time synchronisation will heal it.
func distrust(err error, server *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(server.NotBefore):
		return fault.As(fault.Transient, fault.AskOperator(fmt.Errorf("the clock says %s: %w", now.UTC().Format(time.RFC3339), err),
			"set the clock: the certificate of the server begins at "+server.NotBefore.UTC().Format(time.RFC3339)))
	case now.After(server.NotAfter):
		return fault.AskOperator(err, "check the clock of the device ("+now.UTC().Format(time.RFC3339)+
			"): if it is right, the certificate of the server has expired and its owner must renew it")
	}
	return fault.AskOperator(err, "put the root of the server's certificate into the configured roots, and check that nobody "+
		"intercepts TLS between the device and the server")
}
