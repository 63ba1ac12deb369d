// Package mtls is what all our connections have in common that present an identity: what the key can sign for, and who
// can do something when the two sides do not trust each other.
package mtls

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Newest is the last version of TLS that the key can sign for, 0 for any. A key that is held to PKCS #1 v1.5 cannot sign
// for TLS 1.3, which knows only PSS; crypto/tls would then, without a word, present no certificate.
func Newest(c tls.Certificate) uint16 {
	if len(c.SupportedSignatureAlgorithms) == 0 {
		return 0
	}
	for _, s := range c.SupportedSignatureAlgorithms {
		switch s {
		case tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512, tls.PKCS1WithSHA1:
		default:
			return 0
		}
	}
	return tls.VersionTLS12
}

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

// Refused returns the alert with which the server refused our certificate, where err is that. In TLS 1.3 it judges the
// certificate after the handshake is over for us, so that the alert comes with the first read.
func Refused(err error) (alert tls.AlertError, ok bool) {
	for _, alert := range certificateAlerts {
		if Alerted(err, alert) {
			return alert, true
		}
	}
	return 0, false
}

// Alerted reports whether err is this alert of the other side.
func Alerted(err error, alert tls.AlertError) bool {
	const op = "remote error" // of the *net.OpError in which crypto/tls reports it; the alert's own type is private
	remote, ok := errors.AsType[*net.OpError](err)
	return ok && remote.Op == op && remote.Err.Error() == alert.Error()
}

// Settings are the names of what a person can set: where the server is, and which roots to trust.
type Settings struct{ Host, Roots string }

// versionTooOld is how crypto/tls says that the server answered with an old version, in an error without a type.
const versionTooOld = "server selected unsupported protocol version"

const protocolVersion tls.AlertError = 70

// Distrust says who can do something where err is that TLS did not come about because of what the server is or shows,
// and ok that it is. A clock that is behind is the most frequent reason on a device without a battery, and time
// synchronisation will heal it.
func Distrust(err error, now time.Time, s Settings) (labelled error, ok bool) {
	if untrusted, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return distrust(err, untrusted.UnverifiedCertificates, now, s), true
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		return fault.AskOperator(fmt.Errorf("the server does not speak TLS: %w", err), "check host and port: "+s.Host), true
	}
	if err != nil && (Alerted(err, protocolVersion) || strings.Contains(err.Error(), versionTooOld)) {
		return fault.AskOperator(err, "the server offers no TLS from 1.2 on: it has to be brought up to date (RFC 8996)"), true
	}
	return nil, false
}

func distrust(err error, chain []*x509.Certificate, now time.Time, s Settings) error {
	server := chain[0]
	wrongName, mismatch := errors.AsType[x509.HostnameError](err)
	switch {
	case now.Before(server.NotBefore):
		return fault.As(fault.Transient, fault.AskOperator(fmt.Errorf("the clock says %s: %w", now.UTC().Format(time.RFC3339), err),
			"set the clock: the certificate of the server begins at "+server.NotBefore.UTC().Format(time.RFC3339)))
	case now.After(server.NotAfter):
		return fault.AskOperator(err, "check the clock of the device ("+now.UTC().Format(time.RFC3339)+
			"): if it is right, the certificate of the server has expired and its owner must renew it")
	case mismatch:
		return fault.AskOperator(err, fmt.Sprintf("%s names %s, the server's certificate is for %v: correct the name, or see who answers there",
			s.Host, wrongName.Host, server.DNSNames))
	}
	hint := "put the root of the server's certificate into " + s.Roots + ", and check that nobody intercepts TLS between the device and the server"
	if len(chain) == 1 && !bytes.Equal(server.RawIssuer, server.RawSubject) {
		hint += fmt.Sprintf("; the server sends its certificate without the intermediate %q: if that is no root, the server's owner must add it", server.Issuer)
	}
	return fault.AskOperator(err, hint)
}
