package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// value fills v, which is not a struct, from n.
func (d *decoder) value(n *yaml.Node, v reflect.Value, k key, field string) {
	switch {
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		d.sections(n, v, k, field)
		return
	case v.Kind() == reflect.Map:
		d.named(n, v, k, field)
		return
	case v.Kind() == reflect.Slice:
		d.list(n, v, k, field)
		return
	}
	if !d.scalar(n, v, k, field) {
		return
	}
	parsed, err := parse(n, v.Type(), k)
	if err != nil {
		d.reject(n, field, err.Error(), "write "+expected(v.Type(), k))
		return
	}
	if what := k.outOfRange(parsed); what != "" {
		d.reject(n, field, what, "write a value between "+k.min+" and "+k.max)
		return
	}
	v.Set(reflect.ValueOf(parsed).Convert(v.Type()))
}

// scalar notes why n is no single value.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, k key, field string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.reject(n, field, "an alias", "write the value itself: aliases are not read here")
	case n.Kind != yaml.ScalarNode:
		d.reject(n, field, "expected "+expected(v.Type(), k)+", got "+kindOf(n), "write one value")
	case n.Style&yaml.TaggedStyle != 0:
		d.reject(n, field, "a YAML tag", "remove "+quote(n.Tag)+": the type is known here")
	case isNull(n):
		d.reject(n, field, "has no value", "write "+expected(v.Type(), k)+", or remove the line for the default")
	default:
		return true
	}
	return false
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, k key, field string) {
	if n.Kind != yaml.SequenceNode {
		d.reject(n, field, "expected a list, got "+kindOf(n), "write "+k.name+": ["+k.sample()+"]")
		return
	}
	if len(n.Content) == 0 {
		d.reject(n, field, "an empty list", "write "+k.name+": ["+k.sample()+"], or remove the line for the default")
		return
	}
	all, seen := reflect.MakeSlice(v.Type(), 0, len(n.Content)), map[string]bool{}
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", field, i)
		element := reflect.New(v.Type().Elem()).Elem()
		d.marks[at] = mark{item.Line, item.Column}
		d.value(item, element, key{name: k.name, oneof: k.oneof, like: k.like}, at)
		if !d.bad[at] && !k.repeats && seen[item.Value] {
			d.reject(item, at, quote(item.Value)+" is listed twice", "keep one of the two")
		}
		d.bad[field] = d.bad[field] || d.bad[at]
		seen[item.Value] = true
		all = reflect.Append(all, element)
	}
	v.Set(all)
}

// sample is what may stand in a list of this key.
func (k key) sample() string {
	if len(k.oneof) > 0 {
		return strings.Join(k.oneof[:2], ", ")
	}
	return k.like
}

func parse(n *yaml.Node, t reflect.Type, k key) (any, error) {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return parseDuration(n.Value)
	case t == reflect.TypeFor[fs.FileMode]():
		return parseMode(n.Value)
	case t == reflect.TypeFor[slog.Level]():
		return parseLevel(n.Value, k.oneof)
	case k.size:
		return parseSize(n.Value)
	case t.Kind() == reflect.Bool:
		return parseBool(n)
	case t.Kind() == reflect.Int:
		return parseInt(n)
	case t.Kind() == reflect.Float64:
		return parseNumber(n)
	}
	return parseText(n, k)
}

// expected says what a value of type t looks like, with an example.
func expected(t reflect.Type, k key) string {
	switch {
	case len(k.oneof) > 0:
		return "one of " + strings.Join(k.oneof, ", ")
	case t == reflect.TypeFor[time.Duration]():
		return "a duration with its unit, as " + k.like
	case t == reflect.TypeFor[fs.FileMode]():
		return "an octal file mode in quotes, as " + k.like
	case k.size:
		return "a size, as " + k.like
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number, as " + k.like
	case t.Kind() == reflect.Float64:
		return "a number, as " + k.like
	case k.path:
		return "the name of a file, as " + k.like
	}
	return "text, as " + k.like
}

func parseText(n *yaml.Node, k key) (any, error) {
	s := n.Value
	switch {
	case n.ShortTag() == "!!bool":
		return nil, fmt.Errorf("expected text, got %s", s)
	case strings.Contains(s, "-----BEGIN"):
		return nil, fmt.Errorf("the content of a file where its name belongs")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }):
		return nil, fmt.Errorf("more than one line")
	case len(k.oneof) > 0 && !slices.Contains(k.oneof, s):
		return nil, fmt.Errorf("unknown value %s%s", quote(s), didYouMean(s, k.oneof))
	case k.required && s == "":
		return nil, fmt.Errorf("empty")
	case k.path && (strings.HasPrefix(s, "~") || strings.Contains(s, "$")):
		return nil, fmt.Errorf("%s: neither ~ nor variables are expanded here", quote(s))
	case s != strings.TrimSpace(s):
		return nil, fmt.Errorf("%s begins or ends with a space", quote(s))
	}
	return s, nil
}

func parseBool(n *yaml.Node) (any, error) {
	if n.ShortTag() == "!!bool" {
		return strings.EqualFold(n.Value, "true"), nil
	}
	return nil, fmt.Errorf("expected true or false, got %s", kindOf(n))
}

func parseInt(n *yaml.Node) (any, error) {
	i, err := strconv.Atoi(n.Value)
	if err != nil || n.ShortTag() != "!!int" {
		return nil, fmt.Errorf("expected a whole number, got %s", kindOf(n))
	}
	return i, nil
}

func parseNumber(n *yaml.Node) (any, error) {
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("expected a number, got %s", kindOf(n))
	}
	return f, nil
}

func parseDuration(s string) (any, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return nil, fmt.Errorf("%s has no unit", quote(s))
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return nil, fmt.Errorf("expected a duration, got %s", quote(s))
	}
	return d, nil
}

func parseMode(s string) (any, error) {
	mode, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || mode > 0o777 || !strings.HasPrefix(s, "0") {
		return nil, fmt.Errorf("expected an octal file mode, got %s", quote(s))
	}
	return fs.FileMode(mode), nil
}

func parseLevel(s string, legal []string) (any, error) {
	var level slog.Level
	if !slices.Contains(legal, s) || level.UnmarshalText([]byte(s)) != nil {
		return nil, fmt.Errorf("unknown value %s%s", quote(s), didYouMean(s, legal))
	}
	return level, nil
}

// units of a size; SI and IEC both mean what they say.
var units = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func parseSize(s string) (any, error) {
	for _, u := range units {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			return multiply(s, strings.TrimSpace(number), u.bytes)
		}
	}
	return multiply(s, s, 1)
}

func multiply(s, number string, unit int64) (any, error) {
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case err != nil:
		return nil, fmt.Errorf("expected a size in B, KiB, MiB, GiB, kB, MB or GB, got %s", quote(s))
	case n > math.MaxInt64/unit || n < math.MinInt64/unit:
		return nil, fmt.Errorf("%s is too large", quote(s))
	}
	return n * unit, nil
}

// outOfRange says why parsed lies outside of min and max, or "".
func (k key) outOfRange(parsed any) string {
	if k.min == "" {
		return ""
	}
	got := amount(parsed)
	switch low, high := k.bound(k.min, parsed), k.bound(k.max, parsed); {
	case got < low:
		return "less than " + k.min
	case got > high:
		return "more than " + k.max
	}
	return ""
}

// bound reads a tag of Config in the words of the file.
func (k key) bound(tag string, as any) float64 {
	v, err := parse(&yaml.Node{Kind: yaml.ScalarNode, Value: tag}, reflect.TypeOf(as), k)
	if err != nil {
		panic("config: tag of " + k.name + ": " + err.Error())
	}
	return amount(v)
}

// amount is a whole number or one with a fraction; no bound is so large that a float64 is not exact.
func amount(v any) float64 {
	if r := reflect.ValueOf(v); !r.CanFloat() {
		return float64(r.Int())
	}
	return reflect.ValueOf(v).Float()
}
