package dps

import (
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/mqtt"
)

// finished says whether a registration has come to its end, and to which. Of one that has not, both are zero.
func (o operation) finished() (done bool, err error) {
	switch o.Status {
	case "assigned":
		return true, o.State.usable()
	case "assigning", "unassigned":
		return false, nil
	case "disabled":
		return true, fault.AskOperator(errors.New("the enrollment is disabled"),
			"enable the enrollment at the provisioning service")
	case "failed":
		return true, o.State.failed()
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
func (s state) failed() error {
	err := &ServiceError{Status: s.ErrorCode / 1000, Code: s.ErrorCode, Message: s.ErrorMessage}
	if err.Status == 429 || err.Status >= 500 {
		return err
	}
	return refuse(err, s.RegistrationID)
}

// refuse says who can help against an answer that will be the same next time.
func refuse(e *ServiceError, id string) error {
	switch e.Status {
	case 401, 403:
		return fault.AskOperator(e, fmt.Sprintf("upload and verify the CA that signed the bootstrap certificate of %s, "+
			"with all intermediates in the bootstrap file, and check that its enrollment is enabled", id))
	case 404:
		return fault.AskOperator(e, fmt.Sprintf("create the enrollment for registration ID %s, and check id_scope", id))
	}
	// "Certificate issuance" documents P-384 only; what a policy accepts is the service's to say.
	return fault.As(fault.Permanent, fault.AskOperator(e,
		"hold the request against what the enrollment's certificate policy accepts: keys.algorithm, provisioning.dps.api_version"))
}

// turnedAway explains a connection that the service did not accept.
func turnedAway(err error, id string) error {
	refused, ok := errors.AsType[*mqtt.RefusedError](err)
	if !ok || !refused.Identity() {
		return err
	}
	return fault.AskOperator(err, fmt.Sprintf("check that the certificate of %s is in date, that its CA is uploaded and verified "+
		"(with all intermediates in the file), that there is an enrollment for it, and id_scope", id))
}
