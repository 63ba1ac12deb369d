package iothub

import (
	"math/rand/v2"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// The error codes of certificate management that call for more than their HTTP-like status says. They are those of
// Microsoft's C# and Java SDKs.
const (
	codeProtocolVersion = 400001
	codeWrongTier       = 403010
	codePending         = 409004
	codeActive          = 409005
	codeNothingPending  = 412001
	codeServerError     = 500001
	codeUnavailable     = 503001
)

// active reports whether another request of the device is in the way. SDKs say 409005, the service says 409004.
func (e *ServiceError) active() bool { return e.Code == codePending || e.Code == codeActive }

// refused decides how the request goes on after the hub has said no; err is e with the words around it.
func (a *application) refused(e *ServiceError, err error) (wait time.Duration, end error) {
	switch {
	case e.active() && a.Replace == "":
		a.Replace = "*"
		return 0, nil
	case e.Code == codeNothingPending && a.Replace != "":
		a.Replace = ""
		return 0, nil
	case e.active():
		return a.later(e, 5*time.Second, err)
	case e.Code == codeProtocolVersion, e.Code == codeWrongTier:
		return 0, fault.AskOperator(err, noManagement)
	case e.Code == codeServerError:
		return a.later(e, 5*time.Minute, err)
	case e.Code == codeUnavailable:
		return a.later(e, 5*time.Second, err)
	case e.Status == 429, e.Status >= 500:
		return a.later(e, time.Second, err)
	}
	return 0, fault.As(fault.Permanent, err)
}

// longest is how long a wait inside Issue may be; a longer one is the caller's, who has other things to do meanwhile.
const longest = 5 * time.Minute

// later waits for so long the first time. After that the wait doubles, with up to half as much again drawn by lot: a hub
// whose authority is gone is asked by its whole fleet.
func (a *application) later(e *ServiceError, wait time.Duration, err error) (time.Duration, error) {
	if a.tries > 1 {
		wait = min(wait<<min(a.tries-1, 9), longest)
		wait += rand.N(wait / 2)
	}
	if wait = max(wait, e.RetryAfter); wait > longest {
		return 0, fault.Later(err, wait)
	}
	return wait, nil
}
