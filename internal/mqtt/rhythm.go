package mqtt

import (
	"sync"
	"time"
)

const (
	// shortest is the shortest pause between pings that a Rhythm comes down to. RFC 5382 has a NAT keep a connection for
	// two hours, many keep it for some minutes, and what keeps it for less than half of one is no network for MQTT.
	shortest = 30 * time.Second
	// calm is how long a shorter pause must have been enough before a longer one is tried; it doubles up to calmest
	// with each time that this goes wrong.
	calm, calmest = 24 * time.Hour, 32 * 24 * time.Hour
	// deaths is how many sessions in a row must die in the same way: one may as well be an outage.
	deaths = 2
)

// Rhythm learns how long a connection may be idle before something on the way, a NAT or a firewall, forgets it without
// a word. It survives the sessions: give the same one to each. Two sessions in a row that die in silence, on the first
// packet after a pause, halve the pause between pings; a day in which none does lets it grow by half again, up to
// Options.KeepAlive. The zero value is ready for use, by one session at a time or by many.
type Rhythm struct {
	mu      sync.Mutex
	every   time.Duration // 0 = as long as Options.KeepAlive
	since   time.Time     // when it was last changed
	calm    time.Duration
	strikes int
}

// Every is the pause that was found to be necessary, 0 while Options.KeepAlive has been good.
func (r *Rhythm) Every() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.every
}

// pause is how long the session may be idle, most at most.
func (r *Rhythm) pause(most time.Duration) time.Duration {
	if r == nil {
		return most
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.every != 0 && time.Since(r.since) >= r.calm {
		r.every, r.since = r.every+r.every/2, time.Now()
	}
	if r.every >= most {
		r.every = 0
	}
	return r.current(most)
}

func (r *Rhythm) current(most time.Duration) time.Duration {
	if r.every == 0 {
		return most
	}
	return r.every
}

// answered notes that the connection was still there after idle.
func (r *Rhythm) answered(idle, most time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if idle >= r.current(most)*3/4 {
		r.strikes = 0
	}
}

// silent notes that nobody answered after idle, until the session was over. After a much longer time than the pause it
// was we who slept.
func (r *Rhythm) silent(idle, most time.Duration) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.current(most); idle < shortest || idle > now*3/2 {
		return
	}
	if r.strikes++; r.strikes < deaths {
		return
	}
	r.strikes, r.since = 0, time.Now()
	r.every = max(min(idle, r.current(most))/2, shortest)
	r.calm = min(max(2*r.calm, calm), calmest)
}
