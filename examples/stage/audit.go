package stage

import (
	"fmt"
	"strconv"

	"github.com/devid-agent/devid-agent/sim"
)

// Audit holds the cloud's record against the numbers that the agent gives to readings, from 1 on.
type Audit struct {
	Taken, Received, Repeated int
	Missing                   []uint64 // numbers that the agent gave and the cloud never got
	Strange                   int      // messages without a number
}

// NewAudit counts. Of the numbers that are known to be given, last is the highest; one that the cloud has may be higher still.
func NewAudit(received []sim.Message, last uint64) (a Audit) {
	got := map[uint64]bool{}
	for _, m := range received {
		seq, err := number(m)
		switch {
		case err != nil:
			a.Strange++
		case got[seq]:
			a.Repeated++
		default:
			got[seq] = true
			last = max(last, seq)
		}
	}
	a.Received, a.Taken = len(got), int(last)
	for seq := uint64(1); seq <= last; seq++ {
		if !got[seq] {
			a.Missing = append(a.Missing, seq)
		}
	}
	return a
}

// Some are the first of the missing numbers, for people.
func (a Audit) Some() string {
	if len(a.Missing) == 0 {
		return ""
	}
	return fmt.Sprintf(" %d", a.Missing[:min(len(a.Missing), 10)])
}

// Holds reports whether the cloud has got the reading of that number.
func Holds(received []sim.Message, seq uint64) bool {
	for _, m := range received {
		if n, err := number(m); err == nil && n == seq {
			return true
		}
	}
	return false
}

func number(m sim.Message) (uint64, error) { return strconv.ParseUint(m.Properties["seq"], 10, 64) }
