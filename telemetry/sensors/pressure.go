package sensors

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// pressure reads how much time tasks lose for want of processor, memory and I/O (Documentation/accounting/psi.rst): some
// of them, and all of them at once.
func pressure(_ context.Context, m Machine) *found {
	f := nothing()
	for _, what := range []string{"cpu", "memory", "io", "irq"} {
		text, err := m.text("proc/pressure", what)
		if err != nil {
			f.broken(err)
			continue
		}
		values, err := stalls(text)
		if err != nil {
			f.broken(fmt.Errorf("parse pressure/%s: %w", what, err))
		}
		if len(values) > 0 {
			f.values[what] = values
		}
	}
	return f
}

// stalls reads lines like "some avg10=0.12 avg60=0.05 avg300=0.01 total=123456". A line that is not like this is in the
// error and hides no other.
func stalls(text string) (values map[string]any, err error) {
	values = map[string]any{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "some" && words[0] != "full" {
			err = fmt.Errorf("%s is no line of it", quote(line))
			continue
		}
		for _, word := range words[1:] {
			if bad := stall(values, words[0], word); bad != nil {
				err = bad
			}
		}
	}
	return values, err
}

func stall(values map[string]any, who, word string) error {
	name, number, _ := strings.Cut(word, "=")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0) || name != "total" && n > 100 || n > 1<<63 {
		return fmt.Errorf("%s is no measure of pressure", quote(word))
	}
	switch name {
	case "avg10":
		values[who+"_10s_percent"] = n
	case "avg60":
		values[who+"_60s_percent"] = n
	case "total":
		values[who+"_stalled_seconds"] = n / 1e6
	}
	return nil
}
