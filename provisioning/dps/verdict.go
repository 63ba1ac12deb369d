package dps

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
)

// finished says whether the registration has come to its end, and to which. Of one that has not, both are zero.
func (r *registration) finished(o operation) (done bool, err error) {
	switch o.Status {
	case "assigned":
		return true, o.State.usable()
	case "assigning", "unassigned":
		return false, nil
	case "disabled":
		return true, fault.AskOperator(errors.New("the enrollment is disabled"),
			fmt.Sprintf("enable the enrollment for registration ID %s at the provisioning service", r.id))
	case "failed":
		return true, r.failed(o.State)
	}
	return true, fault.As(fault.Permanent, fmt.Errorf("unknown registration status %q", o.Status))
}

// usable holds an assignment against what we can speak.
func (s state) usable() error {
	if s.ConnectionProfile != "" && s.ConnectionProfile != "classic" {
		return fault.As(fault.Permanent, fmt.Errorf("hub %s wants the connection profile %q, which this agent does not speak",
			s.AssignedHub, s.ConnectionProfile))
	}
	if s.AssignedHub == "" || s.DeviceID == "" {
		return fault.As(fault.Permanent, fmt.Errorf("the service assigned no hub or no device ID: %+v", s.assignment()))
	}
	return nil
}

// failed is a registration that the service has given up, in the words of the service.
func (r *registration) failed(s state) error {
	err := &ServiceError{Status: s.ErrorCode / 1000, Code: s.ErrorCode, Message: s.ErrorMessage}
	if err.Status >= http.StatusTooManyRequests {
		return err
	}
	return r.refuse(err)
}

// refuse says who can help against an answer that will be the same next time.
func (r *registration) refuse(e *ServiceError) error {
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fault.AskOperator(e, r.remedy())
	case http.StatusNotFound:
		return fault.AskOperator(e, r.unknown())
	case http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType:
		return fault.As(fault.Permanent, fault.AskOperator(e, "check that provisioning.dps.endpoint names a provisioning service, and provisioning.dps.api_version"))
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fault.As(fault.Permanent, fault.AskOperator(e, fmt.Sprintf("look at the enrollment and the registration record of %s at the provisioning service: something changes them at the same time", r.id)))
	}
	if r.csr == nil {
		return fault.As(fault.Permanent, fault.AskOperator(e,
			"check provisioning.dps.api_version and payload, and what the enrollment's allocation says of them"))
	}
	// "Certificate issuance" documents P-384 only; what a policy accepts is the service's to say.
	return fault.As(fault.Permanent, fault.AskOperator(e,
		"hold the request against what the enrollment's certificate policy accepts: keys.algorithm, provisioning.dps.api_version"))
}

// turnedAway explains a connection that the service did not accept.
func (r *registration) turnedAway(err error) error {
	refused, ok := errors.AsType[*mqtt.RefusedError](err)
	if !ok || !refused.Identity() {
		return err
	}
	return fault.AskOperator(err, r.remedy())
}

// remedy is what a person does when the service does not accept who we are, and does not say why.
func (r *registration) remedy() string {
	return fmt.Sprintf("%s; check provisioning.dps.id_scope and api_version, and that there is an enrollment for registration ID %s", r.proof.remedy(), r.id)
}

// unknown is what a person does when the service knows no enrollment for us.
func (r *registration) unknown() string {
	if t, ok := r.proof.(*byTPM); ok {
		return "correct provisioning.dps.id_scope, or " + t.remedy()
	}
	return fmt.Sprintf("create the enrollment for registration ID %s, or correct provisioning.dps.id_scope; then %s", r.id, r.proof.remedy())
}
