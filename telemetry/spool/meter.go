package spool

import (
	"sync"
	"time"
)

// mostStretch is how much later than Within a commit may come when the budget is used.
const mostStretch = 10

// meter counts what the medium is made to take, in whole pages, since it takes no less, and with what a journal takes
// when a file becomes longer. What the file system writes beside that by itself comes on top.
type meter struct {
	budget int64
	mu     sync.Mutex // taken last of all
	total  int64
	day    int64 // since 1970
	spent  int64 // on that day
}

func today() int64 { return time.Now().Unix() / (24 * 60 * 60) }

// add counts a write of n bytes at off.
func (m *meter) add(off, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pages := (off+n+page-1)/page - off/page
	m.turn()
	m.total += pages * page
	m.spent += pages * page
}

// turn begins a new day. A clock that is set begins one too, and so may allow a budget twice.
func (m *meter) turn() {
	if d := today(); d != m.day {
		m.day, m.spent = d, 0
	}
}

// resume goes on with what an earlier life spent on the same day.
func (m *meter) resume(day, spent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.day, m.spent = day, spent
}

func (m *meter) now() (total, day, spent int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn()
	return m.total, m.day, m.spent
}

// stretch is the factor by which writes that can wait are put off.
func (m *meter) stretch() int64 {
	_, _, spent := m.now()
	return stretch(spent, m.budget)
}

// stretch is 1 up to half of the budget, and grows evenly to its most where the budget ends.
func stretch(spent, budget int64) int64 {
	half := budget / 2
	if budget <= 0 || spent <= half {
		return 1
	}
	if spent >= budget {
		return mostStretch
	}
	return 1 + (mostStretch-1)*(spent-half)/(budget-half)
}
