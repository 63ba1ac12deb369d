package ingest

import (
	"sync"
	"time"
)

// A client that comes back each second says nothing new, and many of them, or one that is wrong in ever new ways, are not
// to fill the log of a device.
const (
	silence        = 10 * time.Minute
	mostComplaints = 32 // in that time
)

// quiet remembers what was logged.
type quiet struct {
	mu   sync.Mutex
	said map[string]time.Time
}

// first reports whether about is to be logged, and takes it that it is.
func (q *quiet) first(about string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for old, at := range q.said {
		if now.Sub(at) >= silence {
			delete(q.said, old)
		}
	}
	if _, again := q.said[about]; again || len(q.said) == mostComplaints {
		return false
	}
	if q.said == nil {
		q.said = make(map[string]time.Time)
	}
	q.said[about] = now
	return true
}
