package stage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Title prints a line, and underlines it.
func Title(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Printf("\n  %s\n  %s\n", text, strings.Repeat("─", utf8.RuneCountInString(text)))
}

// Verdicts prints the lines of a summary and remembers whether all were as they should be.
type Verdicts struct{ bad int }

// Line prints one.
func (v *Verdicts) Line(good bool, name, format string, args ...any) {
	mark := "✓"
	if !good {
		mark = "✗"
		v.bad++
	}
	fmt.Printf("  %s %-13s %s\n", mark, name, fmt.Sprintf(format, args...))
}

// End prints the last words, and reports whether all was good.
func (v *Verdicts) End(words string) (good bool) {
	if v.bad > 0 {
		words = fmt.Sprintf("%d lines are not as they should be.", v.bad)
	}
	if words != "" {
		fmt.Printf("\n  %s\n", words)
	}
	return v.bad == 0
}
