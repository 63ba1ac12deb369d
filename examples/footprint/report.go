package main

import (
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
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
	d, s := f.after.At.Sub(f.before.At), f.after.Since(f.before)
	return resting{
		cpu:     100 * float64(s.CPU) / float64(d),
		wakes:   float64(s.Switches) / d.Seconds(),
		perHour: float64(s.Written) * float64(time.Hour) / float64(d),
	}
}

// report prints the figures beside those of others, and reports whether all gates hold.
func (f *figures) report(board *stage.Board) (good bool) {
	r := f.resting()
	perMessage := float64(f.busy.Since(f.after).Written) / thousand
	stage.Title("What the agent costs")
	var v stage.Verdicts
	v.Line(float64(f.after.Steady) <= gateMemory, "memory", "%.1f MB at rest, of %.0f; %.1f MB at most, with %d readings that waited for the hub",
		mega(f.after.Steady), gateMemory/1e6, mega(f.drained.Peak), f.backlog)
	v.Line(r.cpu <= gateCPU, "processor", "%.3f %% of a core at rest, of %.1f; %.2f s for %d readings", r.cpu, gateCPU, f.drained.Since(f.after).CPU.Seconds(), thousand+f.backlog)
	v.Line(r.wakes <= gateWakes, "wake-ups", "%.2f a second at rest, of %.0f", r.wakes, gateWakes)
	v.Line(true, "disk", "%.0f KB an hour at rest; %.0f KB for %d readings of other programs", r.perHour/1e3, perMessage*thousand/1e3, thousand)
	v.Line(true, "start", "%d ms from the start of the process to its first message at the hub", f.first.Milliseconds())
	v.Line(true, "pace", "%d readings in %d ms, each on the disk before it is answered; %d that waited were sent in %.1f s",
		thousand, f.busyFor.Milliseconds(), f.backlog, f.drainedFor.Seconds())
	if board != nil {
		boardLines(&v, board)
	}
	stage.Title("Beside others")
	fmt.Printf(row, "", "MB at rest", "at most", "% core", "wakes/s", "disk bytes/message", "start", "")
	fmt.Printf(row, "devid-agent", fmt.Sprintf("%.1f", mega(f.after.Steady)), fmt.Sprintf("%.1f", mega(f.drained.Peak)), fmt.Sprintf("%.3f", r.cpu),
		fmt.Sprintf("%.2f", r.wakes), fmt.Sprintf("%.0f", perMessage), fmt.Sprintf("%d ms", f.first.Milliseconds()), "this run, with its store on disk")
	printPeers()
	return v.End("")
}

func boardLines(v *stage.Verdicts, b *stage.Board) {
	v.Line(float64(b.SteadyKB)*1024 <= gateMemory, "on the board", "(%s) %.1f MB at rest, %.1f MB at most", b.Architecture, mega(int64(b.SteadyKB)*1024), mega(int64(b.PeakKB)*1024))
	hours := b.IdleSeconds / time.Hour.Seconds()
	// No gate: where a system call takes milliseconds, as in emulation, the Go runtime wakes to look after it.
	v.Line(true, "", "%.2f wake-ups a second at rest, which emulation multiplies", float64(b.IdleSwitches)/b.IdleSeconds)
	v.Line(true, "", "%.0f KB an hour to the disk at rest, with the journal; %.0f KB for 1000 readings one by one; first message %.1f s after power, %d ms after its start",
		float64(b.IdleBytes)/hours/1e3, float64(b.MessageBytes)/float64(b.Messages), b.FirstMessageS, b.AgentFirstMS)
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }
