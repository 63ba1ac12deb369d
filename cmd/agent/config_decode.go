package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mark is a place in the file, from 1; the zero mark is the file as a whole.
type mark struct{ line, column int }

// decoder fills a Config from YAML and collects what is wrong on the way.
type decoder struct {
	file     string
	problems []problem
	marks    map[string]mark // fields that the file sets: where the value begins, for a section its key
	bad      map[string]bool // fields whose value was not understood
}

// loadConfig returns the configuration in the file at path, with defaults filled in and every file that it names
// looked at. Its error is a *configError that lists all mistakes, in file order.
func loadConfig(path string) (*Config, error) {
	text, p := readSource(path)
	if p != nil {
		return nil, complain([]problem{*p})
	}
	return parseConfig(path, text, nil)
}

// parseConfig reads text, the content of the file at path, with changes over it.
func parseConfig(path string, text []byte, changes map[string]any) (*Config, error) {
	d := &decoder{file: path, marks: map[string]mark{}, bad: map[string]bool{}}
	c := defaultConfig()
	if root := d.document(text); root != nil {
		lay(root, changes)
		d.section(root, reflect.ValueOf(c).Elem(), "", mark{1, 1})
		if !d.bad[""] {
			d.check(c)
			d.resolve(reflect.ValueOf(c).Elem())
			d.checkFiles(c)
		}
	}
	if err := complain(d.problems); err != nil {
		return nil, err
	}
	return c, nil
}

func (d *decoder) note(at mark, field, what, remedy string) {
	d.problems = append(d.problems, problem{d.file, at.line, at.column, field, what, remedy})
}

// reject notes that the value of a field, which begins at n, is not understood.
func (d *decoder) reject(n *yaml.Node, field, what, remedy string) {
	d.bad[field] = true
	d.note(mark{n.Line, n.Column}, field, what, remedy)
}

// section fills the struct v from the mapping n. Where a required key is missing, at is the place to say so.
func (d *decoder) section(n *yaml.Node, v reflect.Value, path string, at mark) {
	keys := keysOf(v.Type())
	switch {
	case isNull(n): // a section whose keys are all commented out
	case n.Kind == yaml.AliasNode:
		d.reject(n, path, "an alias", "write the keys themselves: aliases are not read here")
		return
	case n.Kind != yaml.MappingNode:
		d.reject(n, path, "expected a section of keys, got "+kindOf(n), "write keys below it: "+names(keys))
		return
	default:
		d.pairs(n, v, path, keys)
	}
	d.missing(v, path, at)
}

func (d *decoder) pairs(n *yaml.Node, v reflect.Value, path string, keys []key) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		field := join(path, name.Value)
		at := mark{name.Line, name.Column}
		if line, twice := first[field]; twice && name.Kind == yaml.ScalarNode {
			d.note(at, field, fmt.Sprintf("set twice, first on line %d", line), "keep one of the two")
			continue
		}
		first[field] = name.Line
		k := slices.IndexFunc(keys, func(k key) bool { return name.Kind == yaml.ScalarNode && k.name == name.Value })
		if k < 0 {
			d.unknown(name, path, keys)
			continue
		}
		d.field(value, v.FieldByIndex(keys[k].index), keys[k], field, at)
	}
}

func (d *decoder) field(n *yaml.Node, v reflect.Value, k key, field string, at mark) {
	if v.Kind() == reflect.Struct {
		d.marks[field] = at
		d.section(n, v, field, at)
		return
	}
	d.marks[field] = mark{n.Line, n.Column}
	d.value(n, v, k, field)
}

// missing notes each required key that the file does not set, also those of sections that are not there.
func (d *decoder) missing(v reflect.Value, path string, at mark) {
	for _, k := range keysOf(v.Type()) {
		field := join(path, k.name)
		if _, set := d.marks[field]; set {
			continue
		}
		if v.FieldByIndex(k.index).Kind() == reflect.Struct {
			d.missing(v.FieldByIndex(k.index), field, at)
		} else if k.required {
			d.note(at, field, "missing", k.addIt(v.FieldByIndex(k.index).Kind()))
		}
	}
}

// resolve makes every path absolute or relative to where the agent runs, as the file's own path is.
func (d *decoder) resolve(v reflect.Value) {
	for _, k := range keysOf(v.Type()) {
		f := v.FieldByIndex(k.index)
		if f.Kind() == reflect.Struct {
			d.resolve(f)
		} else if f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct {
			for i := range f.Len() {
				d.resolve(f.Index(i))
			}
		} else if k.path && f.String() != "" {
			f.SetString(d.place(f.String()))
		}
	}
}

// credentialPrefix begins the name of a credential that systemd hands to the service (LoadCredential=).
const credentialPrefix = "credential:"

// place is where a path of the file leads. What names no file is left alone.
func (d *decoder) place(path string) string {
	name, secret := strings.CutPrefix(path, credentialPrefix)
	switch {
	case secret:
		return filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), name)
	case filepath.IsAbs(path), inHardware(path):
		return path
	}
	return filepath.Join(filepath.Dir(d.file), path)
}

// key is what the tags of a field of Config say.
type key struct {
	name                 string
	index                []int // as reflect's FieldByIndex has it
	required, size, path bool
	repeats              bool // a list may have the same twice
	oneof                []string
	min, max, like       string
}

func keysOf(t reflect.Type) []key {
	keys := make([]key, 0, t.NumField())
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		words := strings.Split(tag.Get("yaml"), ",")
		if slices.Contains(words, "inline") {
			for _, k := range keysOf(t.Field(i).Type) {
				k.index = append([]int{i}, k.index...)
				keys = append(keys, k)
			}
			continue
		}
		keys = append(keys, key{
			name: words[0], index: []int{i},
			required: slices.Contains(words, "required"),
			size:     slices.Contains(words, "size"),
			path:     slices.Contains(words, "path"),
			repeats:  slices.Contains(words, "repeats"),
			oneof:    strings.Fields(tag.Get("oneof")),
			min:      tag.Get("min"), max: tag.Get("max"), like: tag.Get("like"),
		})
	}
	return keys
}

func (k key) addIt(kind reflect.Kind) string {
	if kind == reflect.Slice {
		return "add it, as " + k.name + ": [" + k.sample() + "]"
	}
	return "add it, as " + k.name + ": " + k.like
}

func names(keys []key) string {
	if len(keys) == 0 {
		return "it has no keys yet"
	}
	s := make([]string, len(keys))
	for i, k := range keys {
		s[i] = k.name
	}
	return strings.Join(s, ", ")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a section"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return "text in quotes"
	}
	return quote(n.Value)
}

// quote shows a value, but never much of it: somebody may have pasted a key.
func quote(s string) string {
	if strings.Contains(s, "\n") || strings.Contains(s, "-----BEGIN") {
		return "text of several lines"
	}
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
