package main

import (
	"encoding/json"
	"slices"

	"go.yaml.in/yaml/v3"
)

// lay puts changes, which have the shape of the file, over the mapping n. A null takes a key away.
func lay(n *yaml.Node, changes map[string]any) {
	for name, value := range changes {
		at := 1 + slices.IndexFunc(n.Content, func(k *yaml.Node) bool { return k.Value == name })
		for at > 0 && at%2 == 0 { // a value with the text of a key
			next := slices.IndexFunc(n.Content[at:], func(k *yaml.Node) bool { return k.Value == name })
			if next < 0 {
				at = 0
				break
			}
			at += next + 1
		}
		below, section := value.(map[string]any)
		switch {
		case value == nil && at > 0:
			n.Content = slices.Delete(n.Content, at-1, at+1)
		case value == nil:
		case at > 0 && section && n.Content[at].Kind == yaml.MappingNode:
			lay(n.Content[at], below)
		case at > 0:
			n.Content[at] = node(value)
		default:
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, node(value))
		}
	}
}

// node is a value of JSON as YAML, which has JSON in it. Encoding YAML would cost the binary 100 KB.
func node(value any) *yaml.Node {
	var n yaml.Node
	text, err := json.Marshal(value)
	if err == nil {
		err = yaml.Unmarshal(text, &n)
	}
	if err != nil || len(n.Content) != 1 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	nowhere(n.Content[0])
	return n.Content[0]
}

// nowhere takes away the places: they are none of the file's.
func nowhere(n *yaml.Node) {
	n.Line, n.Column = 0, 0
	for _, below := range n.Content {
		nowhere(below)
	}
}
