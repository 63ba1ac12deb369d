package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// problem is one mistake in a configuration file: where, what is wrong, and what to do about it.
type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1; 0 where the file as a whole is meant
	Column  int    `json:"column"` // from 1, in characters
	Field   string `json:"field"`  // as hub.keep_alive; "" where no field is meant
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

// String is the problem on one line, in the shape that editors jump to.
func (p problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Problem)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// configError is every mistake in a configuration, in file order.
type configError struct{ Problems []problem }

// Error is one problem a line.
func (e *configError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// MarshalJSON is the list of problems.
func (e *configError) MarshalJSON() ([]byte, error) { return json.Marshal(e.Problems) }

// complain is the problems as one error, sorted by place, each said once; nil where there are none.
func complain(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &configError{slices.Compact(problems)}
}
