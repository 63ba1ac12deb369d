// Package spool is the queue on disk between a reading that was promised and the hub that acknowledges it.
//
// A reading is promised when Append has returned: it is on the medium. It is forgotten when Ack names it.
package spool

import "time"

// Record is one reading as it waits for the hub.
type Record struct {
	Seq    uint64 // 1, 2, 3 … over all streams of this spool, without gaps
	Time   time.Time
	Stream string // 1 to 64 of a-z A-Z 0-9 - _ .
	Body   []byte // at most MaxBody
}
