package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

func (s *story) summary() (good bool) {
	var v stage.Verdicts
	stage.Title("What the gateway lived through in %d seconds", int(time.Since(s.began).Seconds()))
	s.boardLines(&v)
	s.identityLines(&v)
	s.telemetryLines(&v)
	if s.full {
		s.longLines(&v)
	}
	return v.End("The power went, the readings did not.")
}

func (s *story) boardLines(v *stage.Verdicts) {
	v.Line(true, "installed", "devid-agent %s, by dpkg in %.1f s, on emulated ARM64 with Debian's kernel and systemd", s.scene.version, s.scene.install.Seconds())
	var up, first []string
	for i, b := range s.scene.boots {
		up = append(up, fmt.Sprintf("%.0f", b.up.Seconds()))
		if i > 0 {
			first = append(first, fmt.Sprintf("%.0f", b.first.Seconds()))
		}
	}
	v.Line(true, "boots", "%d, up after %s s; first reading at the cloud %s s after the power came back", len(s.scene.boots), strings.Join(up, ", "), strings.Join(first, ", "))
	v.Line(s.scene.memory.Now > 0 && s.scene.memory.Now <= 15000, "memory", "%.1f MB, at most %.1f MB since the last boot", mega(s.scene.memory.Now), mega(s.scene.memory.Peak))
}

func mega(kilo int) float64 { return float64(kilo) * 1024 / 1e6 }

func (s *story) identityLines(v *stage.Verdicts) {
	key := s.scene.check.Key
	v.Line(key.Refused && s.scene.check.Bound(), "key", "%s in %s; export refused: %s", key.Algorithm, key.Place, key.Export)
	id := s.scene.final.Identity
	if id == nil {
		v.Line(false, "identity", "none")
		return
	}
	v.Line(id.DeviceID == device, "identity", "%s at %s, now generation %d", id.DeviceID, id.Hub, id.Generation)
	issued := len(s.cloud.Issued(device))
	unused := s.scene.long.unused
	v.Line(issued == int(id.Generation)+unused, "certificates", "%d issued, %d used; a cut between issue and delivery costs one, any other cut none", issued, id.Generation)
}

func (s *story) telemetryLines(v *stage.Verdicts) {
	spool, broken := s.scene.final.Spool, s.missing()
	a := stage.NewAudit(s.cloud.Received(device), spool.LastSeq)
	for _, c := range s.scene.cuts {
		v.Line(true, "power cut", "%s; %d promised readings were nowhere but on its disk, which lost %d of %d unflushed blocks", c.where, c.waiting, c.forgotten, c.kept+c.forgotten)
	}
	v.Line(len(s.promised) > 0 && a.Strange == 0, "promised", "%d readings to the press, each told to this machine before the next; %d refused while nobody was there", len(s.promised), s.refused)
	v.Line(a.Received == a.Taken, "received", "%d different ones by the cloud, of %d that the agent has numbered", a.Received, a.Taken)
	v.Line(len(a.Missing) == 0 && len(broken) == 0 && spool.Dropped == 0 && spool.Damaged == 0, "lost", "%d%s", len(a.Missing)+len(broken), a.Some()+some(broken))
	v.Line(a.Repeated <= again*len(s.scene.cuts), "repeated", "%d (a cut brings back at most %d: what was under way, and what was acknowledged since that was last written down)", a.Repeated, again)
}

// again is how many readings a power cut brings back at most: a batch of the pump (64), and what the spool acknowledges
// between two writes of its cursor (256).
const again = 64 + 256

func some(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf(" %s", parts[:min(len(parts), 10)])
}

func (s *story) longLines(v *stage.Verdicts) {
	l := s.scene.long
	v.Line(l.newer != "" && l.newer != s.scene.version, "upgrade", "to %s by dpkg in %.1f s while readings came; the press had no answer for %.1f s of it", l.newer, l.upgrade.Seconds(), l.silence.Seconds())
	v.Line(l.full > 0 && l.restarts == "0", "full disk", "%d readings refused, none of them promised; it went on by itself when there was room. It had said: %s", l.full, l.fullHint)
	v.Line(strings.Contains(l.forbidden, "polkit"), "reboot", "by the cloud's method, from the sandbox: first forbidden (%s), then allowed, and the board came back", l.forbidden)
	v.Line(strings.Contains(l.readOnly, "Read-only"), "read-only", "root: it streams and renews (%s)", l.readOnly)
	v.Line(l.waited > 0, "wrong clock", "from 1970, which systemd takes for %s: no certificate asked for, %d readings kept. It had said: %s", l.year, l.waited, l.clock)
	n := l.numbers
	v.Line(n.SteadyKB <= 15000, "footprint", "%.1f MB at rest, %.1f MB at most; %.0f KB to the disk in a minute at rest, %.0f KB for %d readings one by one",
		mega(n.SteadyKB), mega(n.PeakKB), float64(n.IdleBytes)/1e3, float64(n.MessageBytes)/1e3, n.Messages)
}
