package fault

import (
	"math/rand/v2"
	"time"
)

// Backoff spreads tries in time: full jitter between Min and a bound that doubles up to Max while errors are
// Transient, and the Slow cadence for what time alone does not heal. The zero value waits 1 s … 5 min, Slow 1 h.
//
// Full jitter, because a fleet that lost its hub in the same second must not come back in the same second:
// with 1,000,000 devices a backoff without jitter keeps more than nine in ten of them out for a day.
type Backoff struct {
	Min, Max, Slow time.Duration
	tries          int
}

// Next says how long to wait after err, and whether trying again makes sense at all.
// A nil err resets the backoff and asks for no wait. A Fatal error and an asked-for stop end the loop.
func (b *Backoff) Next(err error) (wait time.Duration, again bool) {
	if err == nil {
		b.tries = 0
		return 0, true
	}
	kind := Of(err)
	if kind == Fatal || Stopped(err) {
		return 0, false
	}
	if kind == Transient {
		wait = jitter(b.bound())
		b.tries++
	} else {
		slow := or(b.Slow, time.Hour)
		wait = slow*9/10 + jitter(slow/5)
	}
	wait = max(wait, b.floor())
	if floor := RetryAfter(err); floor > 0 {
		wait = max(wait, floor+jitter(floor/10))
	}
	return wait, true
}

// floor keeps a lucky draw of the full jitter from becoming a busy loop.
func (b *Backoff) floor() time.Duration { return or(b.Min, time.Second) / 4 }

func (b *Backoff) bound() time.Duration {
	low, high := or(b.Min, time.Second), or(b.Max, 5*time.Minute)
	for range b.tries {
		if low >= high {
			break
		}
		low *= 2
	}
	return min(low, high)
}

func or(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}
