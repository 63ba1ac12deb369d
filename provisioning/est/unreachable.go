package est

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// certificateAlerts are those with which a server says that our certificate is not good, or missing (RFC 8446, 6.2).
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

const protocolVersion tls.AlertError = 70

// unreachable says who can help against an error on the way to the server.
func (s *session) unreachable(err error) error {
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return distrust(err, untrusted.UnverifiedCertificates[0], time.Now())
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || errors.Is(err, http.ErrSchemeMismatch) {
		return fault.AskOperator(fmt.Errorf("the server does not speak TLS: %w", err), "check host and port of provisioning.est.url")
	}
	remote, ok := errors.AsType[*net.OpError](err)
	if !ok || remote.Op != remoteAlert {
		return err
	}
	if remote.Err.Error() == protocolVersion.Error() { // the alert's own type is private to crypto/tls
		return fault.AskOperator(err, "the EST server offers no TLS from 1.2 on: it has to be brought up to date (RFC 8996)")
	}
	for _, alert := range certificateAlerts {
		if remote.Err.Error() == alert.Error() {
			return fault.AskOperator(fmt.Errorf("certificate refused: %w (alert %d)", err, uint8(alert)), s.identityHint())
		}
	}
	return err
}

// distrust explains why the server's certificate is not good for us. A clock that is behind is the most frequent
// reason on a device without a battery, and time synchronisation will heal it.
func distrust(err error, server *x509.Certificate, now time.Time) error {
	switch wrongName, mismatch := errors.AsType[x509.HostnameError](err); {
	case now.Before(server.NotBefore):
		return fault.As(fault.Transient, fault.AskOperator(fmt.Errorf("the clock says %s: %w", now.UTC().Format(time.RFC3339), err),
			"set the clock: the certificate of the server begins at "+server.NotBefore.UTC().Format(time.RFC3339)))
	case now.After(server.NotAfter):
		return fault.AskOperator(err, "check the clock of the device ("+now.UTC().Format(time.RFC3339)+
			"): if it is right, the certificate of the server has expired and its owner must renew it")
	case mismatch:
		return fault.AskOperator(err, fmt.Sprintf("provisioning.est.url names %s, the certificate is for %v", wrongName.Host, server.DNSNames))
	}
	return fault.AskOperator(err, "put the root of the server's certificate into provisioning.est.roots, and check that nobody "+
		"intercepts TLS between the device and the server")
}
