package main

import (
	"encoding/json"
	"strconv"
)

// audit holds the cloud's record against what the agent promised, and against its numbers.
type audit struct {
	taken, received, repeated int
	missing                   []uint64 // numbers that the agent gave and the cloud never got
	broken                    []string // parts that the agent answered for and the cloud never got
	strange                   int      // messages without a number
}

func (s *stage) audit() audit {
	got := map[uint64]int{}
	var a audit
	for _, m := range s.cloud.Received(device) {
		seq, err := strconv.ParseUint(m.Properties["seq"], 10, 64)
		if err != nil {
			a.strange++
			continue
		}
		if got[seq]++; got[seq] > 1 {
			a.repeated++
		}
	}
	a.received = len(got)
	last := s.scene.final.Spool.LastSeq
	for seq := range got {
		last = max(last, seq)
	}
	a.taken = int(last)
	for seq := uint64(1); seq <= last; seq++ {
		if got[seq] == 0 {
			a.missing = append(a.missing, seq)
		}
	}
	a.broken = s.missing()
	return a
}

// missing are the parts that the agent answered for and that the cloud does not have.
func (s *stage) missing() (parts []string) {
	got := map[string]bool{}
	for _, m := range s.cloud.Received(device) {
		var reading struct{ Part string }
		if json.Unmarshal(m.Body, &reading) == nil {
			got[reading.Part] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for part := range s.promised {
		if !got[part] {
			parts = append(parts, part)
		}
	}
	return parts
}

// holds reports whether the cloud has got the reading of that number.
func (s *stage) holds(seq uint64) bool {
	for _, m := range s.cloud.Received(device) {
		if m.Properties["seq"] == strconv.FormatUint(seq, 10) {
			return true
		}
	}
	return false
}
