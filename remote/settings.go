package remote

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Setting is one that can be changed while the agent runs.
type Setting struct {
	// Path is where the configuration file has it: telemetry.sensors.interval. All below it belongs to it, too.
	Path string
	// Apply puts a value in force that Validate has found good: a string, float64, bool, list or object of JSON. nil is
	// what the file says. After an error, what was in force before still is; context.Canceled is no fault of the value:
	// the agent ends.
	Apply func(value any) error
}

// The bounds of what is believed. A twin has at most ten levels ("Understand and use device twins").
const (
	maxErrors = 10
	maxText   = 300
	maxLevels = 10
)

// check says what is wrong with the changes, in the order of their paths.
func (c *Config) check(changes map[string]any) []string {
	if foreign(changes, maxLevels) {
		return []string{"a name with a dot, or more than ten levels: no twin has that"}
	}
	var all []string
	c.walk("", changes, func(path string) {
		switch {
		case c.setting(path) == nil:
			all = append(all, path+": cannot be changed while the agent runs")
		case !c.permits(path):
			all = append(all, path+": remote.change does not allow it")
		}
	})
	if len(all) == 0 && c.Validate != nil {
		for _, err := range c.Validate(changes) {
			all = append(all, err.Error())
		}
	}
	return bounded(all)
}

// foreign reports whether v has what no twin has: more levels than so many, or a name with a dot, which would pass for a path.
func foreign(v any, levels int) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			if levels == 0 || strings.Contains(name, ".") || foreign(below, levels-1) {
				return true
			}
		}
	case []any:
		return len(v) > 0 && levels == 0 || slices.ContainsFunc(v, func(below any) bool { return foreign(below, levels-1) })
	}
	return false
}

// walk calls f with the path of everything that is no object, or an empty one, in order.
func (c *Config) walk(above string, changes map[string]any, f func(path string)) {
	for _, k := range slices.Sorted(maps.Keys(changes)) {
		path := strings.TrimPrefix(above+"."+k, ".")
		if below, is := changes[k].(map[string]any); is && len(below) > 0 {
			c.walk(path, below, f)
		} else {
			f(path)
		}
	}
}

// meant is changes without the empty objects that a removal of settings leaves behind: where the path is not allowed, they
// are no wish. Where it is, {} may be one: a stream with nothing of its own.
func (c *Config) meant(above string, changes map[string]any) map[string]any {
	all := map[string]any{}
	for k, v := range changes {
		path := strings.TrimPrefix(above+"."+k, ".")
		if below, is := v.(map[string]any); is {
			below = c.meant(path, below)
			if len(below) == 0 && !c.permits(path) {
				continue
			}
			v = below
		}
		all[k] = v
	}
	return all
}

// setting is the one that path belongs to, or nil.
func (c *Config) setting(path string) *Setting {
	for i, s := range c.Settings {
		if within(path, s.Path) {
			return &c.Settings[i]
		}
	}
	return nil
}

func (c *Config) permits(path string) bool {
	return slices.ContainsFunc(c.Change, func(head string) bool { return within(path, head) })
}

// within reports whether path is head, or below it.
func within(path, head string) bool {
	rest, ok := strings.CutPrefix(path, head)
	return ok && head != "" && (rest == "" || rest[0] == '.')
}

// bounded keeps what a person reads, and what fits into a twin.
func bounded(all []string) []string {
	if len(all) > maxErrors {
		all = append(all[:maxErrors-1:maxErrors-1], fmt.Sprintf("and %d more", len(all)-maxErrors+1))
	}
	for i := range all {
		all[i] = clean(all[i])
	}
	return all
}

// clean is text as a twin takes it: valid, of a sane length.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	return strings.ToValidUTF8(s, "")
}

// at is what changes has at path, nil where it has nothing.
func at(changes map[string]any, path string) any {
	var v any = changes
	for name := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// apply goes from the changes in force to others, all or nothing: where one setting does not go, those before it go back.
func (c *Config) apply(from, to map[string]any) error {
	for i, s := range c.Settings {
		old, fresh := at(from, s.Path), at(to, s.Path)
		if same(old, fresh) {
			continue
		}
		err := s.try(fresh)
		if err == nil {
			continue
		}
		for _, back := range slices.Backward(c.Settings[:i+1]) {
			if old := at(from, back.Path); !same(old, at(to, back.Path)) {
				_ = back.try(old) // it was in force a moment ago
			}
		}
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}

// try applies value. What panics has not gone: a message from far away must not take the agent down.
func (s *Setting) try(value any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("applying it panics: %v", p)
		}
	}()
	return s.Apply(value)
}
