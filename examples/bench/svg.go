package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// plot is a picture: bars, or lines over time.
type plot struct {
	file, title, unit, note string
	bars                    []bar
	lines                   []line
}

// bar is one of several values to compare.
type bar struct {
	name, under string
	value       float64
}

// line is a value over time.
type line struct {
	name   string
	points []point
}

type point struct {
	at    time.Duration
	value float64
}

func (p *plot) add(name, under string, value float64) {
	p.bars = append(p.bars, bar{name, under, value})
}

// Colours that are told apart by eyes of all kinds, on white and on black.
var colours = []string{"#2f6fb5", "#9aa5b1", "#d98032", "#5a9e6f"}

const (
	width     = 720
	barHigh   = 22
	barApart  = 44
	barLeft   = 190 // where the bars begin
	barRight  = 90  // room for the figure behind the longest
	plotTop   = 64
	lineHigh  = 240
	lineLeft  = 64
	lineRight = 24
)

// writePlots draws all into dir.
func writePlots(dir string, plots []plot) error {
	errs := []error{os.MkdirAll(dir, 0o755)}
	for _, p := range plots {
		errs = append(errs, os.WriteFile(filepath.Join(dir, p.file+".svg"), []byte(p.svg()), 0o644))
	}
	return errors.Join(errs...)
}

// svg is the picture. It has a ground of its own, for readers whose page is dark.
func (p plot) svg() string {
	height := plotTop + barApart*len(p.bars) + 12
	if len(p.lines) > 0 {
		height = plotTop + lineHigh + 56
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13" fill="#24292f">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#ffffff"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="20" y="28" font-size="16" font-weight="600">%s</text>`+"\n", escape(p.title))
	fmt.Fprintf(&b, `<text x="20" y="48" fill="#6b7480">%s</text>`+"\n", escape(p.note))
	if len(p.lines) > 0 {
		p.drawLines(&b)
	} else {
		p.drawBars(&b)
	}
	return b.String() + "</svg>\n"
}

func (p plot) drawBars(b *strings.Builder) {
	most := 0.0
	for _, one := range p.bars {
		if one.value > most { // which NaN is not
			most = one.value
		}
	}
	for i, one := range p.bars {
		if math.IsNaN(one.value) {
			one.value, one.under = 0, "not measured"
		}
		y, long, colour := plotTop+barApart*i, 0.0, colours[1]
		if most > 0 {
			long = max(one.value/most*(width-barLeft-barRight), 1)
		}
		if i == 0 {
			colour = colours[0] // ours
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", barLeft-12, y+15, escape(one.name))
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" font-size="11" fill="#6b7480">%s</text>`+"\n", barLeft-12, y+29, escape(one.under))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="3" fill="%s"/>`+"\n", barLeft, y+2, long, barHigh, colour)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" font-weight="600">%s</text>`+"\n", barLeft+long+8, y+18, escape(number(one.value)+p.unit))
	}
}

func (p plot) drawLines(b *strings.Builder) {
	var span time.Duration
	most := 0.0
	for _, l := range p.lines {
		for _, at := range l.points {
			span, most = max(span, at.at), max(most, at.value)
		}
	}
	step := tidy(most / 4)
	top := step * max(math.Ceil(most/step), 1)
	x := func(at time.Duration) float64 {
		return lineLeft + float64(at)/float64(max(span, 1))*(width-lineLeft-lineRight)
	}
	y := func(v float64) float64 { return plotTop + lineHigh - v/top*lineHigh }
	for v := 0.0; v <= top+step/2; v += step {
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#e3e7eb"/><text x="%d" y="%.1f" text-anchor="end" font-size="11" fill="#6b7480">%g%s</text>`+"\n",
			lineLeft, y(v), width-lineRight, lineLeft-8, y(v)+4, v, escape(p.unit))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" font-size="11" fill="#6b7480">%.0f s</text>`+"\n", width-lineRight, plotTop+lineHigh+18, span.Seconds())
	for i, l := range p.lines {
		colour := colours[[]int{0, 2, 3, 1}[i%4]]
		var path strings.Builder
		for j, at := range l.points {
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(j, 1)], x(at.at), y(at.value))
		}
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="2" stroke-linejoin="round"/>`+"\n", path.String(), colour)
		left := lineLeft + 200*i
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="14" height="4" rx="2" fill="%s"/><text x="%d" y="%d" font-size="12">%s</text>`+"\n",
			left, plotTop+lineHigh+34, colour, left+20, plotTop+lineHigh+40, escape(l.name))
	}
}

// tidy is the next of 1, 2, 5, 10, 20 … from v up.
func tidy(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if v <= f*unit {
			return f * unit
		}
	}
	return 10 * unit
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
