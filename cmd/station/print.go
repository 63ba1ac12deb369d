package main

import (
	"io"
	"strings"

	"github.com/devid-agent/devid-agent/internal/commands"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// fields prints names and values, but for the empty ones.
func fields(out io.Writer, pairs ...string) error {
	var t commands.Table
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			t.Row(pairs[i], pairs[i+1])
		}
	}
	return t.Print(out)
}
