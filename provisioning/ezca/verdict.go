package ezca

import (
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/web"
)

// refused says who can help against an answer that is not the one asked for.
func (s *session) refused(a *answer) error {
	no := &web.Refusal{Asked: a.path, Status: a.Status, Text: a.Quote()}
	remedies := web.Remedies{Identity: s.identityHint(), Address: fmt.Sprintf("there is no such interface at %s: check provisioning.ezca.url and api", s.base)}
	var end time.Time
	if s.task.old != nil {
		end = s.task.old.NotAfter
	}
	if err, told := a.Refused(no, remedies, end); told {
		return err
	}
	return s.denied(no)
}

// denied is a request that EZCA understood and does not grant. Its words do not say who can help, and the same request
// would meet the same answer.
func (s *session) denied(err *web.Refusal) error {
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
