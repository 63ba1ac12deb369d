package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// verdict is one line of the table.
type verdict struct {
	Row, What      string
	Measured, Peer string
	Ratio          string
	Goal           string // "" is none: shown for comparison
	Met            bool
}

func (v verdict) mark() string {
	switch {
	case v.Goal == "":
		return ""
	case v.Met:
		return "met"
	}
	return "missed"
}

// results are what a run has found.
type results struct {
	verdicts []verdict
	notes    []string // one line each, for what a table does not hold
	plots    []plot
}

// judge adds a line with a goal.
func (r *results) judge(v verdict) { r.verdicts = append(r.verdicts, v) }

// note adds a line of text.
func (r *results) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// missed is how many goals are.
func (r *results) missed() (n int) {
	for _, v := range r.verdicts {
		if v.mark() == "missed" {
			n++
		}
	}
	return n
}

func (r *results) print() {
	fmt.Printf("\n  %-10s %-44s %-22s %-30s %-9s %-24s %s\n", "row", "what", "measured", "peer", "ratio", "goal", "")
	for _, v := range r.verdicts {
		fmt.Printf("  %-10s %-44s %-22s %-30s %-9s %-24s %s\n", v.Row, v.What, v.Measured, v.Peer, v.Ratio, v.Goal, v.mark())
	}
	for _, n := range r.notes {
		fmt.Println("  " + n)
	}
}

// markdown is the same as a table of the document.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString("| row | what | measured | peer | ratio | goal | |\n|---|---|---|---|---|---|---|\n")
	for _, v := range r.verdicts {
		fmt.Fprintf(&b, "| %s |\n", strings.Join([]string{v.Row, v.What, v.Measured, v.Peer, v.Ratio, v.Goal, v.mark()}, " | "))
	}
	b.WriteByte('\n')
	for _, n := range r.notes {
		b.WriteString("* " + n + "\n")
	}
	return b.String()
}

// median of an odd number is one of them; of none it is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// number is n with commas, and with decimals only where it is small.
func number(n float64) string {
	if n < 9.995 {
		return fmt.Sprintf("%.2f", n)
	}
	if n < 99.95 {
		return fmt.Sprintf("%.1f", n)
	}
	return count(int(math.Round(n)))
}

// count is n with commas.
func count(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func ratio(a, b float64) string {
	if b == 0 {
		return ""
	}
	return number(a/b) + "×"
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }
