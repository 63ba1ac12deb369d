package ezca

import (
	"fmt"
	"net/http"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

// ServiceError is a no. EZCA has words for it, and no codes.
type ServiceError struct {
	Path   string
	Status int    // of HTTP; a no may come with 200
	Text   string // the service's own words, if it has any
}

func (e *ServiceError) Error() string {
	text := fmt.Sprintf("%s: the service answers %d %s", e.Path, e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

// refused says who can help against an answer that is not the one asked for. Whatever comes with a Retry-After is a
// matter of time.
func (s *session) refused(a *answer) error {
	err := &ServiceError{a.path, a.Status, a.Quote()}
	if a.Header.Get("Retry-After") != "" && a.Status >= 400 {
		return fault.Later(err, s.patience(a))
	}
	switch a.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return fault.AskOperator(err, s.identityHint())
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fault.AskOperator(err, fmt.Sprintf("there is no such interface at %s: check provisioning.ezca.url and api", s.base))
	}
	if a.Status >= 500 {
		return err
	}
	return s.denied(err)
}

func (s *session) patience(a *answer) time.Duration {
	now := time.Now()
	var end time.Time
	if s.task.old != nil {
		end = s.task.old.NotAfter
	}
	return web.Patience(a.After(now, 0), now, end)
}

// denied is a request that EZCA understood and does not grant. Its words do not say who can help, and the same request
// would meet the same answer.
func (s *session) denied(err *ServiceError) error {
	if s.task.old != nil {
		return fault.As(fault.Permanent, fault.AskOperator(err, fmt.Sprintf("hold the renewal of %q against its template in EZCA: how early it may be, "+
			"validity (provisioning.ezca.validity, in days), kind of key (keys.algorithm)", s.task.name)))
	}
	return fault.AskOperator(err, fmt.Sprintf("see in EZCA that %q is registered as a domain of the template, with the owner of the token as a requester, "+
		"and that provisioning.ezca.ca, template, validity and keys.algorithm fit together", s.task.name))
}

// identityHint is what to look after when the service does not accept who we are.
func (s *session) identityHint() string {
	if s.task.old == nil {
		return fmt.Sprintf("hand over a fresh token in %s (it is good for about an hour), of somebody who may request certificates from this CA",
			s.config.TokenFile)
	}
	return fmt.Sprintf("check in EZCA that the certificate in force (serial %s, until %s) is not revoked and may renew itself, and the clock of the device; "+
		"if the service wants tokens that live longer, set provisioning.ezca.jwt_life to 30m", s.task.old.SerialNumber.Text(16), s.task.old.NotAfter.UTC().Format(time.RFC3339))
}
