package telemetry

import "time"

// window is how many messages may be in flight: additive increase, multiplicative decrease (RFC 5681 has it for TCP). A
// hub that throttles delays its acknowledgements or ends the session; Azure does not document which.
type window struct {
	size, most int
	timely     int           // acknowledgements in time since the size has changed
	best       time.Duration // round trip of this session
	cut        time.Time     // what was sent before says nothing new
}

// begin is a new session that bears most. What the last one has taught stays.
func (w *window) begin(most int) {
	if w.size == 0 {
		w.size = most
	}
	w.most, w.best, w.timely = most, 0, 0
	w.size = min(w.size, most)
}

// late is how much longer than a round trip an acknowledgement takes before it says that the hub is slow on purpose.
const late = time.Second

// landed notes an acknowledgement of what was sent at that time.
func (w *window) landed(sent, now time.Time) {
	trip := now.Sub(sent)
	if w.best == 0 || trip < w.best {
		w.best = trip
	}
	if trip > 4*w.best+late {
		if sent.After(w.cut) {
			w.halve(now)
		}
		return
	}
	if w.timely++; w.timely >= w.size && w.size < w.most {
		w.size, w.timely = w.size+1, 0
	}
}

// halve answers a stall, a session that was lost with messages in flight, and an acknowledgement that came late.
func (w *window) halve(now time.Time) {
	w.size, w.timely, w.cut = max(w.size/2, 1), 0, now
}

// pace is a token bucket of one second: so many messages a second, and no more than that at once.
type pace struct {
	rate   float64 // 0 = any
	tokens float64
	last   time.Time
}

// take reports whether a message may go now, else how long that will take.
func (p *pace) take(now time.Time) (wait time.Duration, ok bool) {
	if p.rate <= 0 {
		return 0, true
	}
	if p.last.IsZero() {
		p.tokens = max(p.rate, 1)
	} else {
		p.tokens = min(p.tokens+now.Sub(p.last).Seconds()*p.rate, max(p.rate, 1))
	}
	p.last = now
	if p.tokens < 1 {
		return time.Duration((1-p.tokens)/p.rate*float64(time.Second)) + time.Microsecond, false
	}
	p.tokens--
	return 0, true
}

// undo gives back what take took.
func (p *pace) undo() { p.tokens++ }
