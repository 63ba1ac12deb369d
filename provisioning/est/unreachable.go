package est

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mtls"
)

const protocolVersion tls.AlertError = 70

// unreachable says who can help against an error on the way to the server.
func (s *session) unreachable(err error) error {
	if labelled, ok := mtls.Distrust(err, time.Now(), mtls.Settings{Host: "provisioning.est.url", Roots: "provisioning.est.roots"}); ok {
		return labelled
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || errors.Is(err, http.ErrSchemeMismatch) {
		return fault.AskOperator(fmt.Errorf("the server does not speak TLS: %w", err), "check host and port of provisioning.est.url")
	}
	if mtls.Alerted(err, protocolVersion) {
		return fault.AskOperator(err, "the EST server offers no TLS from 1.2 on: it has to be brought up to date (RFC 8996)")
	}
	if alert, ok := mtls.Refused(err); ok {
		return fault.AskOperator(fmt.Errorf("certificate refused: %w (alert %d)", err, uint8(alert)), s.identityHint())
	}
	return err
}
