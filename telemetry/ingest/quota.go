package ingest

import (
	"sync"
	"time"
)

// Quota is what one client may send in a minute; a member that is 0 is no limit. A client is a Unix user where the
// kernel says who it is, and the user name of CONNECT elsewhere. What it did not use is kept for one minute.
type Quota struct {
	Readings int64
	Bytes    int64
}

// quotas keeps what each client has left.
type quotas struct {
	Quota
	mu      sync.Mutex
	clients map[string]*allowance // as many as there are users
}

// allowance is what a client has left at a time. It may be below zero: a batch that is allowed to begin is taken whole.
type allowance struct {
	readings, bytes float64
	at              time.Time
}

// wait is how long a client has to wait until it may send.
func (q *quotas) wait(client string) time.Duration {
	if q.Quota == (Quota{}) {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.now(client)
	return max(until(a.readings, q.Readings), until(a.bytes, q.Bytes))
}

// charge counts what a client has sent.
func (q *quotas) charge(client string, readings, bytes int) {
	if q.Quota == (Quota{}) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.now(client)
	a.readings -= float64(readings)
	a.bytes -= float64(bytes)
}

// now is the client's allowance as of now. The caller holds mu.
func (q *quotas) now(client string) *allowance {
	if q.clients == nil {
		q.clients = make(map[string]*allowance)
	}
	t := time.Now()
	a := q.clients[client]
	if a == nil {
		a = &allowance{readings: float64(q.Readings), bytes: float64(q.Bytes), at: t}
		q.clients[client] = a
	}
	minutes := t.Sub(a.at).Minutes()
	a.readings = min(float64(q.Readings), a.readings+minutes*float64(q.Readings))
	a.bytes = min(float64(q.Bytes), a.bytes+minutes*float64(q.Bytes))
	a.at = t
	return a
}

// until is the time until left, which grows by a minute's quota in a minute, allows one thing more.
func until(left float64, quota int64) time.Duration {
	if quota == 0 || left >= 1 || left >= float64(quota) {
		return 0
	}
	return time.Duration((1-left)/float64(quota)*float64(time.Minute)) + time.Millisecond
}
