package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// audit holds the cloud's record against the agent's numbers.
type audit struct {
	taken, received, repeated int
	missing                   []uint64 // numbers that the agent gave and the cloud never got
	broken                    []uint64 // of these, the ones promised to another program
	strange                   int      // messages without a number
}

func (s *stage) audit() audit {
	got := map[uint64]int{}
	var a audit
	for _, m := range s.cloud.Received(s.device) {
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
	// The agent went on taking readings after its last status: the last number is the larger of what it said and
	// what the cloud has, and there must be no hole below it.
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
	for _, seq := range s.scene.promised {
		if got[seq] == 0 {
			a.broken = append(a.broken, seq)
		}
	}
	return a
}

// verdicts prints the lines of the summary and remembers whether all were as they should be.
type verdicts struct{ bad int }

func (v *verdicts) line(good bool, name, format string, args ...any) {
	mark := "✓"
	if !good {
		mark = "✗"
		v.bad++
	}
	fmt.Printf("  %s %-13s %s\n", mark, name, fmt.Sprintf(format, args...))
}

func (s *stage) summary() (good bool) {
	var v verdicts
	fmt.Printf("\n  What happened in %d seconds\n  ───────────────────────────\n", int(time.Since(s.began).Seconds()))
	s.keyLines(&v)
	s.identityLines(&v)
	s.telemetryLines(&v)
	if v.bad > 0 {
		fmt.Printf("\n  %d lines are not as they should be.\n", v.bad)
		return false
	}
	fmt.Print("\n  The key never left the TPM, and no reading was lost.\n")
	return true
}

func (s *stage) keyLines(v *verdicts) {
	key := s.scene.check.Key
	v.line(key.Place != "", "key", "%s in %s", key.Algorithm, key.Place)
	attributes := strings.Join(key.Attributes, " ")
	bound := strings.Contains(attributes, "fixedTPM") && strings.Contains(attributes, "fixedParent") && strings.Contains(attributes, "sensitiveDataOrigin")
	v.line(bound, "attributes", "%s (as the TPM reads them back)", attributes)
	v.line(key.Refused && bound, "export", "refused: %s; a key with fixedTPM and fixedParent has nobody who may allow it", key.Export)
}

func (s *stage) identityLines(v *verdicts) {
	id := s.scene.final.Identity
	if id == nil {
		v.line(false, "enrolled", "no")
		return
	}
	v.line(id.DeviceID == s.device, "enrolled", "as %s at %s, now generation %d", id.DeviceID, id.Hub, id.Generation)
	renewals := s.renewals()
	var gaps []string
	for _, g := range renewals {
		gaps = append(gaps, fmt.Sprintf("%.1f ms", float64(g.length.Microseconds())/1000))
	}
	v.line(len(renewals) >= 2, "renewals", "%d, each with a fresh key in the TPM; telemetry was silent for %s", len(renewals), strings.Join(gaps, " and "))
	issued := len(s.cloud.Issued(s.device))
	v.line(issued == int(id.Generation), "certificates", "%d issued, %d used", issued, id.Generation)
}

func (s *stage) telemetryLines(v *verdicts) {
	a, spool := s.audit(), s.scene.final.Spool
	v.line(a.taken > 0 && a.strange == 0, "readings", "%d taken and stored, %d of them promised to another program", a.taken, len(s.scene.promised))
	v.line(a.received == a.taken, "received", "%d different ones by the cloud", a.received)
	v.line(len(a.missing) == 0 && len(a.broken) == 0 && spool.Dropped == 0 && spool.Damaged == 0, "lost", "%d %s", len(a.missing), numbers(a.missing))
	v.line(a.repeated <= batch, "repeated", "%d (what was under way at the SIGKILL goes again: at most one batch of %d)", a.repeated, batch)
	v.line(s.scene.refused > 0, "killed", "by SIGKILL in mid-stream and started again; %d readings of the other program found nobody meanwhile, and it was told so", s.scene.refused)
}

// batch is how many readings the agent's pump has under way at most.
const batch = 64

func numbers(seqs []uint64) string {
	if len(seqs) == 0 {
		return ""
	}
	return fmt.Sprint(seqs[:min(len(seqs), 10)])
}
