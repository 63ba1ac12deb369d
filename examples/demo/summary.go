package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

func (s *story) summary() (good bool) {
	var v stage.Verdicts
	stage.Title("What happened in %d seconds", int(time.Since(s.began).Seconds()))
	s.keyLines(&v)
	s.identityLines(&v)
	s.telemetryLines(&v)
	return v.End("The key never left the TPM, and no reading was lost.")
}

func (s *story) keyLines(v *stage.Verdicts) {
	check := s.scene.check
	key := check.Key
	v.Line(key.Place != "", "key", "%s in %s", key.Algorithm, key.Place)
	v.Line(check.Bound(), "attributes", "%s (as the TPM reads them back)", check.Attributes())
	v.Line(key.Refused && check.Bound(), "export", "refused: %s; a key with fixedTPM and fixedParent has nobody who may allow it", key.Export)
}

func (s *story) identityLines(v *stage.Verdicts) {
	id := s.scene.final.Identity
	if id == nil {
		v.Line(false, "enrolled", "no")
		return
	}
	v.Line(id.DeviceID == device, "enrolled", "as %s at %s, now generation %d", id.DeviceID, id.Hub, id.Generation)
	renewals := s.renewals()
	var gaps []string
	for _, g := range renewals {
		gaps = append(gaps, fmt.Sprintf("%.1f ms", float64(g.length.Microseconds())/1000))
	}
	v.Line(len(renewals) >= 2, "renewals", "%d, each with a fresh key in the TPM; telemetry was silent for %s", len(renewals), strings.Join(gaps, " and "))
	issued := len(s.cloud.Issued(device))
	v.Line(issued == int(id.Generation), "certificates", "%d issued, %d used", issued, id.Generation)
}

func (s *story) telemetryLines(v *stage.Verdicts) {
	spool := s.scene.final.Spool
	// The agent went on taking readings after its last status, and the other program was told of numbers.
	a := stage.NewAudit(s.cloud.Received(device), slices.Max(append(s.scene.promised, spool.LastSeq)))
	v.Line(a.Taken > 0 && a.Strange == 0, "readings", "%d taken and stored, %d of them promised to another program", a.Taken, len(s.scene.promised))
	v.Line(a.Received == a.Taken, "received", "%d different ones by the cloud", a.Received)
	v.Line(len(a.Missing) == 0 && spool.Dropped == 0 && spool.Damaged == 0, "lost", "%d%s", len(a.Missing), a.Some())
	v.Line(a.Repeated <= batch, "repeated", "%d (what was under way at the SIGKILL goes again: at most one batch of %d)", a.Repeated, batch)
	v.Line(s.scene.refused > 0, "killed", "by SIGKILL in mid-stream and started again; %d readings of the other program found nobody meanwhile, and it was told so", s.scene.refused)
}

// batch is how many readings the agent's pump has under way at most.
const batch = 64
