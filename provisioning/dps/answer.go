package dps

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/mqtt"
)

const (
	answerPrefix = "$dps/registrations/res/"
	answerFilter = "$dps/registrations/res/#"
)

// answer is one message of the service.
type answer struct {
	status int // HTTP-like
	rid    string
	after  time.Duration // retry-after; 0 where there is none
	body   []byte
}

// parseAnswer reads $dps/registrations/res/{status}/?$rid={rid}&retry-after={seconds}, with parameters in any order.
func parseAnswer(topic string, body []byte) (answer, bool) {
	status, query, ok := mqtt.ParseResponse(topic, answerPrefix)
	if !ok {
		return answer{}, false
	}
	return answer{status: status, rid: query.Get("$rid"), after: seconds(query.Get("retry-after")), body: body}, true
}

// seconds reads a retry-after. What makes no sense is none, and a day is the most that it can mean.
func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(min(n, 24*60*60)) * time.Second
}

// operation is the body of an answer.
type operation struct {
	OperationID string `json:"operationId"`
	Status      string `json:"status"`
	State       state  `json:"registrationState"`
}

// state is what the service knows of a registration.
type state struct {
	RegistrationID          string   `json:"registrationId"`
	AssignedHub             string   `json:"assignedHub"`
	DeviceID                string   `json:"deviceId"`
	Substatus               string   `json:"substatus"`
	ErrorCode               int      `json:"errorCode"`
	ErrorMessage            string   `json:"errorMessage"`
	ConnectionProfile       string   `json:"connectionProfile"`
	IssuedCertificateChain  []string `json:"issuedCertificateChain"`
	IssuedClientCertificate string   `json:"issuedClientCertificate"`
	TrustBundle             *bundle  `json:"trustBundle"`
	TPM                     struct {
		AuthenticationKey string `json:"authenticationKey"`
	} `json:"tpm"`
}

func (s state) assignment() identity.Assignment {
	return identity.Assignment{DeviceID: s.DeviceID, Hub: s.AssignedHub}
}

// operation reads the body. One that cannot be read is the same at the next try.
func (a answer) operation() (operation, error) {
	var o operation
	if err := json.Unmarshal(a.body, &o); err != nil {
		return o, fault.As(fault.Permanent, fmt.Errorf("read the answer of the service: %w", err))
	}
	return o, nil
}

// ServiceError is what the service says of a registration that it does not fulfil.
type ServiceError struct {
	Status     int // HTTP-like
	Code       int // the status and three digits
	Message    string
	TrackingID string // what Microsoft's support asks for
}

func (e *ServiceError) Error() string {
	text := fmt.Sprintf("service answers %d, error %d: %s", e.Status, e.Code, e.Message)
	if e.TrackingID != "" {
		text += ", tracking ID " + e.TrackingID
	}
	return text
}

// serviceError reads the body of an answer with a status of 300 or more; of a damaged one the status remains.
func (a answer) serviceError() *ServiceError {
	var body struct {
		ErrorCode  int    `json:"errorCode"`
		Message    string `json:"message"`
		TrackingID string `json:"trackingId"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		body.Message = "(no error object: " + err.Error() + ")"
	}
	if body.ErrorCode == 0 {
		body.ErrorCode = a.status * 1000
	}
	return &ServiceError{Status: a.status, Code: body.ErrorCode, Message: body.Message, TrackingID: body.TrackingID}
}

// transient reports whether the same step may be repeated: 429 and everything above it, as in Microsoft's SDKs.
func (a answer) transient() bool { return a.status >= http.StatusTooManyRequests }
