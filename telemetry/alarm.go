package telemetry

import "time"

// alarm is the one timer of the loop. It is set again only for an earlier moment, and may ring for a later one that is
// not wanted any more: to turn once in vain costs less than to set a timer for each message.
type alarm struct {
	timer *time.Timer
	armed time.Time // zero = it is not set
	want  time.Time // the earliest moment that was asked for in this turn; zero is none
}

// usual is how long the loop sleeps when nothing is to come.
const usual = time.Hour

func (a *alarm) at(t time.Time) {
	if a.want.IsZero() || t.Before(a.want) {
		a.want = t
	}
}

func (a *alarm) set(now time.Time) <-chan time.Time {
	if a.want.IsZero() {
		a.want = now.Add(usual)
	}
	if a.armed.IsZero() || a.want.Before(a.armed) {
		a.armed = a.want
		a.timer.Reset(a.want.Sub(now))
	}
	a.want = time.Time{}
	return a.timer.C
}

func (a *alarm) rang() { a.armed = time.Time{} }

// next is when the loop will turn at the latest.
func (a *alarm) next() time.Time {
	switch {
	case !a.armed.IsZero() && (a.want.IsZero() || a.armed.Before(a.want)):
		return a.armed
	case !a.want.IsZero():
		return a.want
	}
	return time.Now().Add(usual)
}
