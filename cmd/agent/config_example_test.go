package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// keysIn notes the path of every key below n, as walk has it.
func keysIn(n *yaml.Node, path string, found map[string]bool) {
	for i, below := range n.Content {
		switch {
		case n.Kind == yaml.DocumentNode:
			keysIn(below, path, found)
		case n.Kind == yaml.SequenceNode:
			keysIn(below, path+"[]", found)
		case i%2 == 0:
			name := below.Value
			if path == "telemetry.streams" {
				name = "NAME"
			}
			found[join(path, name)] = true
			keysIn(n.Content[i+1], join(path, name), found)
		}
	}
}

func TestTheExampleShowsEveryKeyInItsPlaceAndNoOther(t *testing.T) {
	text, err := os.ReadFile("../../examples/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// "#key" is a default and "## key" an example; "# word" is prose.
	shown := regexp.MustCompile(`(?m)^( *)(?:## |#([a-z_]))`).ReplaceAll(text, []byte("$1$2"))
	var all yaml.Node
	if err := yaml.Unmarshal(shown, &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	keysIn(&all, "", found)
	walk(reflect.TypeFor[Config](), "", func(field string, k key) {
		if !found[field] {
			t.Errorf("the example does not show %s", field)
		}
		delete(found, field)
	})
	for field := range found {
		if !strings.HasSuffix(field, ".NAME") {
			t.Errorf("the example shows %s, which is no key", field)
		}
	}
}

// A key that nobody reads would silently do nothing.
func TestEveryKeyIsReadBySomebody(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		name := f.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "config_check") || name == "config_files.go" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	var look func(of reflect.Type, path string)
	look = func(of reflect.Type, path string) {
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			return
		}
		for i := range of.NumField() {
			f := of.Field(i)
			if !regexp.MustCompile(`\.`+f.Name+`\b`).MatchString(code.String()) && !f.Anonymous {
				t.Errorf("%s.%s is read by nobody", path, f.Name)
			}
			look(f.Type, path+"."+f.Name)
		}
	}
	look(reflect.TypeFor[Config](), "Config")
}
