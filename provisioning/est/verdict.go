package est

import (
	"fmt"
	"net/http"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// ServerError is an answer that says no.
type ServerError struct {
	Op     string // the operation
	Status int    // of HTTP
	Text   string // the server's own words, if it has any
}

func (e *ServerError) Error() string {
	text := fmt.Sprintf("%s: the server answers %d %s", e.Op, e.Status, http.StatusText(e.Status))
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

// refused says who can help against an answer that is not the one asked for. Whatever comes with a Retry-After is a
// matter of time: so a CA says that it is too early for a renewal.
func (s *session) refused(a *answer) error {
	err := &ServerError{a.op, a.Status, a.Quote()}
	if a.Header.Get("Retry-After") != "" && a.Status >= 400 {
		return fault.Later(err, s.task.patience(a.After(time.Now(), 0), time.Now()))
	}
	switch a.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return err
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return fault.AskOperator(err, s.identityHint())
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fault.AskOperator(err, fmt.Sprintf("there is no EST under %s: check provisioning.est.url and label", s.base))
	}
	if a.Status >= 500 {
		return err
	}
	return fault.As(fault.Permanent, err)
}

// identityHint is what to look after when the server does not accept who we are.
func (s *session) identityHint() string {
	switch {
	case s.task.old != nil:
		return fmt.Sprintf("check at the CA that the certificate in force (serial %s, until %s) is not revoked, that its issuer is trusted "+
			"for renewal, and that %q may renew", s.task.old.SerialNumber.Text(16), s.task.old.NotAfter.UTC().Format(time.RFC3339), s.task.name)
	case s.config.Bootstrap != nil && s.config.Username != "":
		return fmt.Sprintf("check that the EST server trusts the CA of the bootstrap certificate, knows user %q with the password in "+
			"provisioning.est.password_file, and lets %q enroll", s.config.Username, s.task.name)
	case s.config.Bootstrap != nil:
		return fmt.Sprintf("check that the bootstrap certificate is in date, with all intermediates in its file, that the EST server trusts "+
			"its CA, and that %q may enroll", s.task.name)
	}
	return fmt.Sprintf("check user %q and the password in provisioning.est.password_file, and that %q may enroll", s.config.Username, s.task.name)
}
