package main

import (
	"fmt"
	"strings"
	"time"
)

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
	fmt.Printf("\n  What the gateway lived through in %d seconds\n  ────────────────────────────────────────────\n", int(time.Since(s.began).Seconds()))
	s.boardLines(&v)
	s.identityLines(&v)
	s.telemetryLines(&v)
	if s.full {
		s.longLines(&v)
	}
	if v.bad > 0 {
		fmt.Printf("\n  %d lines are not as they should be.\n", v.bad)
		return false
	}
	fmt.Print("\n  The power went, the readings did not.\n")
	return true
}

func (s *stage) boardLines(v *verdicts) {
	v.line(true, "installed", "devid-agent %s, by dpkg in %.1f s, on emulated ARM64 with Debian's kernel and systemd", s.scene.version, s.scene.install.Seconds())
	var up, first []string
	for i, b := range s.scene.boots {
		up = append(up, fmt.Sprintf("%.0f", b.up.Seconds()))
		if i > 0 {
			first = append(first, fmt.Sprintf("%.0f", b.first.Seconds()))
		}
	}
	v.line(true, "boots", "%d, up after %s s; first reading at the cloud %s s after the power came back", len(s.scene.boots), strings.Join(up, ", "), strings.Join(first, ", "))
	v.line(s.scene.memory.Now > 0 && s.scene.memory.Now <= 15000, "memory", "%.1f MB, at most %.1f MB since the last boot", mega(s.scene.memory.Now), mega(s.scene.memory.Peak))
}

func mega(kilo int) float64 { return float64(kilo) * 1024 / 1e6 }

func (s *stage) identityLines(v *verdicts) {
	key := s.scene.check.Key
	attributes := strings.Join(key.Attributes, " ")
	bound := strings.Contains(attributes, "fixedTPM") && strings.Contains(attributes, "fixedParent") && strings.Contains(attributes, "sensitiveDataOrigin")
	v.line(key.Refused && bound, "key", "%s in %s; export refused: %s", key.Algorithm, key.Place, key.Export)
	id := s.scene.final.Identity
	if id == nil {
		v.line(false, "identity", "none")
		return
	}
	v.line(id.DeviceID == device, "identity", "%s at %s, now generation %d", id.DeviceID, id.Hub, id.Generation)
	issued := len(s.cloud.Issued(device))
	unused := s.scene.long.unused
	v.line(issued == int(id.Generation)+unused, "certificates", "%d issued, %d used; a cut between issue and delivery costs one, any other cut none", issued, id.Generation)
}

func (s *stage) telemetryLines(v *verdicts) {
	a, spool := s.audit(), s.scene.final.Spool
	for _, c := range s.scene.cuts {
		v.line(true, "power cut", "%s; %d promised readings were nowhere but on its disk, which lost %d of %d unflushed blocks", c.where, c.waiting, c.forgotten, c.kept+c.forgotten)
	}
	v.line(len(s.promised) > 0 && a.strange == 0, "promised", "%d readings to the press, each told to this machine before the next; %d refused while nobody was there", len(s.promised), s.refused)
	v.line(a.received == a.taken, "received", "%d different ones by the cloud, of %d that the agent has numbered", a.received, a.taken)
	v.line(len(a.missing) == 0 && len(a.broken) == 0 && spool.Dropped == 0 && spool.Damaged == 0, "lost", "%d%s", len(a.missing)+len(a.broken), some(a))
	v.line(a.repeated <= again*len(s.scene.cuts), "repeated", "%d (a cut brings back at most %d: what was under way, and what was acknowledged since that was last written down)", a.repeated, again)
}

// again is how many readings a power cut brings back at most: a batch of the pump (64), and what the spool acknowledges
// between two writes of its cursor (256).
const again = 64 + 256

func some(a audit) string {
	if len(a.missing)+len(a.broken) == 0 {
		return ""
	}
	return " " + fmt.Sprint(a.missing[:min(len(a.missing), 10)], a.broken[:min(len(a.broken), 10)])
}

func (s *stage) longLines(v *verdicts) {
	l := s.scene.long
	v.line(l.newer != "" && l.newer != s.scene.version, "upgrade", "to %s by dpkg in %.1f s while readings came; the press had no answer for %.1f s of it", l.newer, l.upgrade.Seconds(), l.silence.Seconds())
	v.line(l.full > 0 && l.restarts == "0", "full disk", "%d readings refused, none of them promised; it went on by itself when there was room. It had said: %s", l.full, l.fullHint)
	v.line(strings.Contains(l.readOnly, "Read-only"), "read-only", "root: it streams and renews (%s)", l.readOnly)
	v.line(l.waited > 0, "wrong clock", "from 1970, which systemd takes for %s: no certificate asked for, %d readings kept. It had said: %s", l.year, l.waited, l.clock)
	n := l.numbers
	v.line(n.SteadyKB <= 15000, "footprint", "%.1f MB at rest, %.1f MB at most; %.0f KB to the disk in a minute at rest, %.0f KB for %d readings one by one",
		mega(n.SteadyKB), mega(n.PeakKB), float64(n.IdleBytes)/1e3, float64(n.MessageBytes)/1e3, n.Messages)
}
