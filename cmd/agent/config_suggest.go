package main

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknown notes a key that is not known in the section at path, and the one that was meant.
func (d *decoder) unknown(name *yaml.Node, path string, keys []key) {
	at, field := mark{name.Line, name.Column}, join(path, name.Value)
	known := make([]string, len(keys))
	for i, k := range keys {
		known[i] = k.name
	}
	switch home := elsewhere(name.Value); {
	case name.Kind != yaml.ScalarNode:
		d.note(at, path, "a key must be text", "write KEY: VALUE")
	case name.Value == "<<":
		d.note(at, path, "a merge key", "write the keys themselves: merge keys are not read here")
	case strings.Contains(name.Value, "."):
		d.note(at, field, "unknown key", "a dot does not nest: write each part as a section of its own")
	case nearest(name.Value, known) != "":
		d.note(at, field, "unknown key", "did you mean "+nearest(name.Value, known)+"?")
	case home != "":
		d.note(at, field, "unknown key", "did you mean "+home+"?")
	default:
		d.note(at, field, "unknown key", "known here: "+names(keys))
	}
}

func didYouMean(s string, known []string) string {
	if n := nearest(s, known); n != "" {
		return ", did you mean " + n + "?"
	}
	return ""
}

// elsewhere names the fields of Config, with their sections, that are called name; "" where there is none.
func elsewhere(name string) string {
	var found []string
	walk(reflect.TypeFor[Config](), "", func(field string, k key) {
		if plain(k.name) == plain(name) {
			found = append(found, field)
		}
	})
	return strings.Join(found, " or ")
}

func walk(t reflect.Type, path string, visit func(field string, k key)) {
	for _, k := range keysOf(t) {
		field := join(path, k.name)
		visit(field, k)
		switch f := t.FieldByIndex(k.index).Type; {
		case f.Kind() == reflect.Struct:
			walk(f, field, visit)
		case f.Kind() == reflect.Slice && f.Elem().Kind() == reflect.Struct:
			walk(f.Elem(), field+"[]", visit)
		case f.Kind() == reflect.Map:
			walk(f.Elem(), field+".NAME", visit)
		}
	}
}

// nearest is the known word that s is most likely a slip for, or "".
func nearest(s string, known []string) string {
	best, least := "", 1+max(1, len(s)/3)
	for _, word := range known {
		if n := distance(plain(s), plain(word)); n < least {
			best, least = word, n
		}
	}
	return best
}

// plain takes away what people vary: case, underscore, hyphen.
func plain(s string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s))
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between a and b.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		older := before
		before, row = row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(before[j]+1, row[j-1]+1, before[j-1]+differ(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}
