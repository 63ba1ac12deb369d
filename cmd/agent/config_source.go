package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxSource is far more than a configuration with all comments needs: a larger file is another file.
const maxSource = 64 << 10

const startFromExample = "start from examples/agent.yaml"

// readSource returns the text of the configuration file, or the problem that names it.
func readSource(path string) ([]byte, *problem) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(text) > maxSource {
		return nil, &problem{File: path, Problem: fmt.Sprintf("larger than %d KiB, so hardly a configuration", maxSource>>10),
			Remedy: "name the right file with --config"}
	}
	return text, nil
}

func unreadable(path string, err error) *problem {
	what, remedy := whyUnreadable(path, err)
	if errors.Is(err, fs.ErrNotExist) {
		remedy = startFromExample + ", or name another file with --config"
	}
	return &problem{File: path, Problem: strings.TrimLeft(strings.TrimPrefix(what, path), ": "), Remedy: remedy} // the path is said once
}

// document returns the one mapping in text, or nil after noting why there is none.
func (d *decoder) document(text []byte) *yaml.Node {
	if !d.readable(text) {
		return nil
	}
	var root, second yaml.Node
	stream := yaml.NewDecoder(bytes.NewReader(text))
	err := stream.Decode(&root)
	if errors.Is(err, io.EOF) || err == nil && (len(root.Content) == 0 || isNull(root.Content[0])) {
		d.note(mark{}, "", "the file says nothing", startFromExample)
		return nil
	}
	if err != nil {
		d.syntax(text, err)
		return nil
	}
	switch err := stream.Decode(&second); {
	case err == nil:
		d.note(mark{second.Line, second.Column}, "", "a second document begins here", "keep one: remove the line '---' before it")
	case !errors.Is(err, io.EOF):
		d.syntax(text, err)
	}
	return root.Content[0]
}

// readable notes what no YAML parser would read: another encoding, control characters.
func (d *decoder) readable(text []byte) bool {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		d.note(mark{1, 1}, "", "the file is UTF-16", "save it as UTF-8")
		return false
	}
	at := mark{1, 1}
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			d.note(at, "", fmt.Sprintf("byte 0x%02x is not UTF-8", text[i]), "save the file as UTF-8")
			return false
		}
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85 {
			d.note(at, "", fmt.Sprintf("control character U+%04X", r), "remove it")
			return false
		}
		at.column++
		if r == '\n' {
			at = mark{at.line + 1, 1}
		}
		i += size
	}
	return true
}

// syntax notes why text is not YAML, at the line where it stops being YAML.
func (d *decoder) syntax(text []byte, err error) {
	lines := strings.SplitAfter(string(text), "\n")
	if d.tabs(lines) {
		return
	}
	good, found := lastGood(lines)
	if !found {
		d.note(mark{}, "", strings.TrimPrefix(err.Error(), "yaml: "), "compare with examples/agent.yaml (nothing below was read)")
		return
	}
	at := good + 1
	line := lines[min(at, len(lines))-1]
	indent := len(line) - len(strings.TrimLeft(line, " "))
	what, remedy := inWords(err)
	d.note(mark{at, indent + 1}, "", what, remedy+" (nothing below was read)")
}

// tabs notes every line that is indented with one.
func (d *decoder) tabs(lines []string) (found bool) {
	for i, line := range lines {
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if tab := strings.IndexByte(indent, '\t'); tab >= 0 && strings.TrimSpace(line) != "" {
			d.note(mark{i + 1, tab + 1}, "", "a tab in the indentation, which YAML does not allow", "use two spaces")
			found = true
		}
	}
	return found
}

// lastGood is the length of the longest beginning of lines that is YAML. The parser's own line numbers name the
// start of the surrounding section as often as the mistake; this finds the line that a person would point at. A long
// file that goes wrong early is not searched to the end: that takes seconds on a gateway.
func lastGood(lines []string) (n int, found bool) {
	const enough = 4 << 20
	for n, parsed := len(lines)-1, 0; n > 0; n-- {
		text := strings.Join(lines[:n], "")
		if parsed += len(text); parsed > enough {
			return 0, false
		}
		if isYAML(text) {
			return n, true
		}
	}
	return 0, true
}

func isYAML(text string) bool {
	stream := yaml.NewDecoder(strings.NewReader(text))
	for {
		var n yaml.Node
		if err := stream.Decode(&n); err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// phrases says what the parser means; it has no error types to ask.
var phrases = []struct{ parser, problem, remedy string }{
	{"mapping values are not allowed", "a ':' where no key can be", "put the value in quotes, or align the line with its neighbours"},
	{"did not find expected key", "the line does not fit the ones above", "align it with its neighbours, and close what is open"},
	{"could not find expected ':'", "a key without ':'", "write KEY: VALUE"},
	{"cannot start any token", "a value cannot start with this character", "put the value in quotes"},
	{"found unexpected end of stream", "a quote that nobody closes", "close it"},
	{"found unexpected document indicator", "a quote that nobody closes", "close it"},
	{"did not find expected ','", "a bracket that nobody closes", "close it, and put commas between the values"},
	{"did not find expected node content", "a bracket that nobody closes, or a comma too many", "close it, and put values between the commas"},
	{"unknown anchor", "an alias without its anchor", "write the value itself: aliases are not read here"},
	{"unknown escape character", "an unknown escape in double quotes", "double the backslash, or use single quotes"},
}

func inWords(err error) (what, remedy string) {
	for _, p := range phrases {
		if strings.Contains(err.Error(), p.parser) {
			return p.problem, p.remedy
		}
	}
	return "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), "compare with examples/agent.yaml"
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }
