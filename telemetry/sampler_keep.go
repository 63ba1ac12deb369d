package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Keep is what a report makes of the numbers that were read since the last report. Of anything but a number it is the
// last that was read.
type Keep uint8

const (
	Last      Keep = iota // the last
	Mean                  // their mean, to nine digits
	Min                   // the smallest
	Max                   // the largest
	Range                 // {"min","mean","max","n"}
	Histogram             // {"bounds","counts","sum"}: counts[i] were at most bounds[i] and above the one before
)

// Keeps are the names of the kinds of Keep, in their order.
var Keeps = []string{"last", "mean", "min", "max", "range", "histogram"}

// KeepNamed is the Keep with this name, and whether there is one.
func KeepNamed(name string) (Keep, bool) {
	i := slices.Index(Keeps, name)
	return Keep(max(i, 0)), i >= 0
}

const (
	// leaves is how many values of one source are kept: a message to the hub holds 256 KB.
	leaves = 2048
	// named is how many bad values of a read an error names.
	named = 4
	// step parts the names in a path.
	step = "\x00"
)

// gather is what a probe has read since its last report.
type gather struct {
	keep   Keep
	bounds []float64
	only   []string
	cells  map[string]*cell
	reads  int
	bad    []error // of one read
	left   int     // values that bad does not name
}

// cell is one value over the reads of a report.
type cell struct {
	last          any
	number        bool
	n             uint64
	sum, min, max float64
	counts        []uint64
}

func (g *gather) empty() bool { return g.reads == 0 }

// add takes the values of one read. The error names those that cannot be kept; all others are.
func (g *gather) add(values map[string]any) error {
	if len(values) == 0 {
		return nil
	}
	if g.cells == nil {
		g.cells = map[string]*cell{}
	}
	g.reads++
	g.bad, g.left = nil, 0
	g.branch("", values)
	if g.left > 0 {
		g.bad = append(g.bad, fmt.Errorf("%d values are left out: more than %d of a source, or bad ones", g.left, leaves))
	}
	return errors.Join(g.bad...)
}

func (g *gather) branch(path string, values map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at := name
		if path != "" {
			at = path + step + name
		}
		if below, ok := values[name].(map[string]any); ok {
			g.branch(at, below)
		} else if g.wants(at) {
			g.leaf(at, values[name])
		}
	}
}

func (g *gather) wants(path string) bool {
	if len(g.only) == 0 {
		return true
	}
	path = strings.ReplaceAll(path, step, ".")
	return slices.ContainsFunc(g.only, func(pattern string) bool { return Match(pattern, path) })
}

func (g *gather) leaf(path string, v any) {
	f, number := float(v)
	if number && (math.IsNaN(f) || math.IsInf(f, 0)) {
		if len(g.bad) < named {
			g.bad = append(g.bad, fmt.Errorf("%s: %v is no number", strings.ReplaceAll(path, step, "."), f))
		} else {
			g.left++
		}
		return
	}
	c := g.cells[path]
	if c == nil {
		if len(g.cells) == leaves {
			g.left++
			return
		}
		c = &cell{}
		g.cells[path] = c
	}
	c.last, c.number = v, number
	if number {
		c.put(f, g)
	}
}

func (c *cell) put(f float64, g *gather) {
	if c.n == 0 {
		c.min, c.max = f, f
	}
	c.n++
	c.sum += f
	c.min, c.max = min(c.min, f), max(c.max, f)
	if g.keep == Histogram {
		if c.counts == nil {
			c.counts = make([]uint64, len(g.bounds)+1)
		}
		at, _ := slices.BinarySearch(g.bounds, f)
		c.counts[at]++
	}
}

// close is what a report says of it, by path, and begins anew.
func (g *gather) close() map[string]any {
	said := make(map[string]any, len(g.cells))
	for path, c := range g.cells {
		said[path] = c.value(g)
	}
	g.cells, g.reads = nil, 0
	return said
}

func (c *cell) value(g *gather) any {
	if !c.number {
		return c.last
	}
	switch mean := Nine(c.sum / float64(c.n)); g.keep {
	case Mean:
		return mean
	case Min:
		return c.min
	case Max:
		return c.max
	case Range:
		return map[string]any{"min": c.min, "mean": mean, "max": c.max, "n": c.n}
	case Histogram:
		return map[string]any{"bounds": g.bounds, "counts": c.counts, "sum": Nine(c.sum)}
	}
	return c.last
}

// Nine leaves nine digits of f: what a division or a multiplication adds behind them costs bytes and says nothing.
func Nine(f float64) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 9, 64), 64)
	if err != nil {
		return f
	}
	return r
}

// float is v as a number, and whether it is one.
func float(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	}
	return 0, false
}

// Match reports whether pattern is path, or one that begins it at a dot. A * stands for any number of characters, dots too:
// eth0, eth*.rx_bytes and *.celsius are patterns.
func Match(pattern, path string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		after, ok := strings.CutPrefix(path, head)
		return ok && (after == "" || after[0] == '.')
	}
	if !strings.HasPrefix(path, head) {
		return false
	}
	for path = path[len(head):]; ; path = path[1:] {
		if Match(rest, path) {
			return true
		}
		if path == "" {
			return false
		}
	}
}
