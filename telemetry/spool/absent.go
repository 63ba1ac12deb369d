package spool

import (
	"slices"
	"sort"
)

// reason is why a number that is not acknowledged has no reading to send.
type reason uint8

const (
	lost     reason = iota // the medium lost it
	void                   // it never was on the medium: acknowledged before, or forgotten by a power cut
	expired                // it was older than the limits allow
	poisoned               // it was set aside
	dropped                // it found no room
	reasons
)

// counts has a number for each reason.
type counts [reasons]uint64

func (c counts) total() (n uint64) {
	for _, v := range c {
		n += v
	}
	return n
}

// span is the numbers from … to, both included.
type span struct {
	from, to uint64
	why      reason
}

// absence knows which numbers have no reading, as far as they were looked at.
type absence struct {
	spans []span // in order, apart
	n     counts
}

// at is the index of the first span that ends at seq or behind.
func (a *absence) at(seq uint64) int {
	return sort.Search(len(a.spans), func(i int) bool { return a.spans[i].to >= seq })
}

// add notes that from … to are absent. What is known of a number already stays.
func (a *absence) add(from, to uint64, why reason) {
	for from <= to {
		i, end := a.at(from), to
		if i < len(a.spans) {
			if a.spans[i].from <= from {
				from = a.spans[i].to + 1
				continue
			}
			end = min(to, a.spans[i].from-1)
		}
		a.insert(i, span{from, end, why})
		from = end + 1
	}
}

func (a *absence) insert(i int, s span) {
	a.n[s.why] += s.to - s.from + 1
	if i > 0 && a.spans[i-1].why == s.why && a.spans[i-1].to+1 == s.from {
		a.spans[i-1].to = s.to
		return
	}
	a.spans = slices.Insert(a.spans, i, s)
}

// forget drops what is known of the numbers up to seq, and returns what that was.
func (a *absence) forget(seq uint64) (n counts) {
	i := 0
	for ; i < len(a.spans) && a.spans[i].from <= seq; i++ {
		s := &a.spans[i]
		gone := min(s.to, seq) - s.from + 1
		n[s.why] += gone
		a.n[s.why] -= gone
		if s.from += gone; s.from <= s.to {
			break
		}
	}
	a.spans = slices.Delete(a.spans, 0, i)
	return n
}

// has reports whether seq is known to be absent.
func (a *absence) has(seq uint64) bool {
	i := a.at(seq)
	return i < len(a.spans) && a.spans[i].from <= seq
}

// present returns the first number from seq on that is not known to be absent.
func (a *absence) present(seq uint64) uint64 {
	for i := a.at(seq); i < len(a.spans) && a.spans[i].from <= seq; i++ {
		seq = a.spans[i].to + 1
	}
	return seq
}
