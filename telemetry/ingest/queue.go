package ingest

import (
	"sync"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// item is a message that waits for the medium.
type item struct {
	reading spool.Reading
	id      uint16 // 0 of QoS 0, and of a will: nobody waits for an answer
	qos     byte
	size    int64 // bytes that are held for it
	settled bool  // to be acknowledged, if it is to be at all
}

// One session has at most this much on its way to the medium, and as much again behind it: then nothing more is read.
const (
	windowItems = 256
	windowBytes = 256 << 10
)

// queue is what a session has read and the medium has not got yet. One goroutine puts, one takes all there is: while
// one commit is under way the next one gathers.
type queue struct {
	mu     sync.Mutex
	change sync.Cond
	items  []item
	spare  []item // the array that take gave out before
	bytes  int64
	ended  bool // nothing more comes
	broken bool // nothing more is taken
}

func newQueue() *queue {
	q := &queue{}
	q.change.L = &q.mu
	return q
}

// put adds i once there is room; false when there will be none.
func (q *queue) put(i item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ended && !q.broken && (len(q.items) >= windowItems || q.bytes > 0 && q.bytes+i.size > windowBytes) {
		q.change.Wait()
	}
	if q.ended || q.broken {
		return false
	}
	q.items = append(q.items, i)
	q.bytes += i.size
	q.change.Broadcast()
	return true
}

// take returns all there is, in order, once there is something; nil after the end. What it returned before is no longer
// looked at.
func (q *queue) take() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 && !q.ended && !q.broken {
		q.change.Wait()
	}
	if q.broken || len(q.items) == 0 {
		return nil
	}
	all := q.items
	clear(q.spare[:cap(q.spare)]) // lets go of the payloads
	q.items, q.spare, q.bytes = q.spare[:0], all, 0
	q.change.Broadcast()
	return all
}

// end says that nothing more comes: put returns false, and take what is left.
func (q *queue) end() { q.set(&q.ended) }

// abandon says that nothing more is taken.
func (q *queue) abandon() { q.set(&q.broken) }

func (q *queue) set(flag *bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	*flag = true
	q.change.Broadcast()
}
