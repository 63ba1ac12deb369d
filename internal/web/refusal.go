package web

import (
	"fmt"
	"net/http"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Refusal is an answer that says no.
type Refusal struct {
	Asked  string // for what
	Status int    // of HTTP; a no may come with 200
	Text   string // the server's own words, if it has any
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("%s: the server answers %d %s", r.Asked, r.Status, http.StatusText(r.Status))
	if r.Text != "" {
		text += ": " + r.Text
	}
	return text
}

// Remedies are what a person does about a refusal.
type Remedies struct {
	Identity string // where the server does not accept who we are
	Address  string // where what was asked for is not there
}

// Refused labels what the status says about who can help, and told says whether it says anything: what the server has
// understood and does not grant is for the caller to judge. Whatever comes with a Retry-After is a matter of time, which
// Patience keeps within end.
func (a *Answer) Refused(r *Refusal, m Remedies, end time.Time) (labelled error, told bool) {
	if a.Header.Get("Retry-After") != "" && a.Status >= 400 {
		now := time.Now()
		return fault.Later(r, Patience(a.After(now, 0), now, end)), true
	}
	switch a.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return r, true
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return fault.AskOperator(r, m.Identity), true
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fault.AskOperator(r, m.Address), true
	}
	return r, a.Status >= 500
}
