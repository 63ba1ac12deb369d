package main

import (
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// sections fills a list of structs from n.
func (d *decoder) sections(n *yaml.Node, v reflect.Value, k key, field string) {
	if isNull(n) { // its sections are all commented out
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.reject(n, field, "expected a list of sections, got "+kindOf(n), "begin each with a dash: - "+keysOf(v.Type().Elem())[0].name+": …")
		return
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", field, i)
		d.marks[at] = mark{item.Line, item.Column}
		d.section(item, all.Index(i), at, d.marks[at])
	}
	v.Set(all)
}

// named fills a map of structs from n: sections whose names the file chooses.
func (d *decoder) named(n *yaml.Node, v reflect.Value, k key, field string) {
	if isNull(n) { // its sections are all commented out
		return
	}
	if n.Kind != yaml.MappingNode {
		d.reject(n, field, "expected a section of sections, got "+kindOf(n), "write "+k.like+" below it")
		return
	}
	all, first := reflect.MakeMap(v.Type()), map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, below := n.Content[i], n.Content[i+1]
		at, place := join(field, name.Value), mark{name.Line, name.Column}
		if line, twice := first[name.Value]; twice {
			d.note(place, at, fmt.Sprintf("set twice, first on line %d", line), "keep one of the two")
			continue
		}
		first[name.Value], d.marks[at] = name.Line, place
		one := reflect.New(v.Type().Elem()).Elem()
		d.section(below, one, at, place)
		all.SetMapIndex(reflect.ValueOf(name.Value), one)
	}
	v.Set(all)
}
