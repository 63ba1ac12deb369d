package est

import (
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

// refused says who can help against an answer that is not the one asked for. A CA sends a Retry-After where it is too
// early for a renewal.
func (s *session) refused(a *answer) error {
	no := &web.Refusal{Asked: a.op, Status: a.Status, Text: a.Quote()}
	remedies := web.Remedies{Identity: s.identityHint(), Address: fmt.Sprintf("there is no EST under %s: check provisioning.est.url and label", s.base)}
	if err, told := a.Refused(no, remedies, s.task.end()); told {
		return err
	}
	return fault.As(fault.Permanent, no)
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
