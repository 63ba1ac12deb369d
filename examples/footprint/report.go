package main

import (
	"fmt"
	"time"
)

// The gates.
const (
	gateMemory = 15e6 // bytes at rest
	gateCPU    = 0.2  // percent of a core at rest
	gateWakes  = 1.0  // a second at rest
)

// resting is what the time at rest comes to.
type resting struct {
	cpu, wakes float64 // percent of a core, and times a second
	perHour    float64 // bytes written
}

func (f *figures) resting() resting {
	d := f.after.at.Sub(f.before.at)
	return resting{
		cpu:     100 * float64(f.after.cpu-f.before.cpu) / float64(d),
		wakes:   float64(f.after.switches-f.before.switches) / d.Seconds(),
		perHour: float64(f.after.written-f.before.written) * float64(time.Hour) / float64(d),
	}
}

// report prints the figures beside those of others, and reports whether all gates hold.
func (f *figures) report(board *boardFigures) (good bool) {
	r := f.resting()
	perMessage := float64(f.busy.written-f.after.written) / thousand
	fmt.Print("\n  What the agent costs\n  ────────────────────\n")
	good = gate(true, "memory", float64(f.after.steady) <= gateMemory, "%.1f MB at rest, of %.0f; %.1f MB at most, with %d readings that waited for the hub",
		mega(f.after.steady), gateMemory/1e6, mega(f.drained.peak), f.backlog)
	good = gate(good, "processor", r.cpu <= gateCPU, "%.3f %% of a core at rest, of %.1f; %.2f s for %d readings", r.cpu, gateCPU, (f.drained.cpu - f.after.cpu).Seconds(), thousand+f.backlog)
	good = gate(good, "wake-ups", r.wakes <= gateWakes, "%.2f a second at rest, of %.0f", r.wakes, gateWakes)
	good = gate(good, "disk", true, "%.0f KB an hour at rest; %.0f KB for %d readings of other programs", r.perHour/1e3, perMessage*thousand/1e3, thousand)
	good = gate(good, "start", true, "%d ms from the start of the process to its first message at the hub", f.first.Milliseconds())
	good = gate(good, "pace", true, "%d readings in %d ms, each on the disk before it is answered; %d that waited were sent in %.1f s",
		thousand, f.busyFor.Milliseconds(), f.backlog, f.drainedFor.Seconds())
	if board != nil {
		good = board.report(good)
	}
	fmt.Print("\n  Beside others\n  ─────────────\n")
	fmt.Printf(row, "", "MB at rest", "at most", "% core", "wakes/s", "disk bytes/message", "start", "")
	fmt.Printf(row, "devid-agent", fmt.Sprintf("%.1f", mega(f.after.steady)), fmt.Sprintf("%.1f", mega(f.drained.peak)), fmt.Sprintf("%.3f", r.cpu),
		fmt.Sprintf("%.2f", r.wakes), fmt.Sprintf("%.0f", perMessage), fmt.Sprintf("%d ms", f.first.Milliseconds()), "this run, with its store on disk")
	printPeers()
	if !good {
		fmt.Print("\n  A gate is missed.\n")
	}
	return good
}

func (b *boardFigures) report(good bool) bool {
	good = gate(good, "on the board", float64(b.SteadyKB)*1024 <= gateMemory, "(%s) %.1f MB at rest, %.1f MB at most", b.Architecture, mega(int64(b.SteadyKB)*1024), mega(int64(b.PeakKB)*1024))
	hours := b.IdleSeconds / time.Hour.Seconds()
	// No gate: where a system call takes milliseconds, as in emulation, the Go runtime wakes to look after it.
	good = gate(good, "", true, "%.2f wake-ups a second at rest, which emulation multiplies", float64(b.IdleSwitches)/b.IdleSeconds)
	return gate(good, "", true, "%.0f KB an hour to the disk at rest, with the journal; %.0f KB for 1000 readings one by one; first message %.1f s after power, %d ms after its start",
		float64(b.IdleBytes)/hours/1e3, float64(b.MessageBytes)/float64(b.Messages), b.FirstMessageS, b.AgentFirstMS)
}

// gate prints a line, and is whether it and all before it are as they should be.
func gate(before bool, name string, good bool, format string, args ...any) bool {
	mark := "✓"
	if !good {
		mark = "✗"
	}
	fmt.Printf("  %s %-13s %s\n", mark, name, fmt.Sprintf(format, args...))
	return before && good
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }
