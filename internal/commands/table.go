package commands

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is lines of cells, one column below the other.
type Table [][]string

// Row adds a line.
func (t *Table) Row(cells ...string) { *t = append(*t, cells) }

// Print writes the table with columns as wide as their widest cell.
func (t Table) Print(out io.Writer) error {
	var widths []int
	for _, line := range t {
		for i, cell := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range t {
		var b strings.Builder
		for i, cell := range line {
			fmt.Fprintf(&b, "%-*s  ", widths[i], cell)
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
