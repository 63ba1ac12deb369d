package sensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Format is how a line of a file is read.
type Format string

const (
	// Auto takes each line as what it looks like: a JSON object where it begins with a brace, else NAME=VALUE pairs.
	Auto Format = "auto"
	// Text takes a line as it is.
	Text Format = "text"
)

// Formats are the names of the formats.
var Formats = []string{string(Auto), string(Text)}

// parseLines adds what text says to f, line by line. A line that says nothing is told and hides no other; so is a name that an
// earlier line has had, and the later value holds.
func parseLines(f *found, text string) {
	number, bad := 0, 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(strings.ToValidUTF8(line, "\uFFFD"))
		if line == "" || line[0] == '#' {
			continue
		}
		values, err := parseLine(line)
		if err == nil {
			err = merge(f.values, values)
		}
		if err != nil {
			if bad++; bad <= named {
				f.broken(fmt.Errorf("line %d: %w", number, err))
			}
		}
	}
	if bad > named {
		f.broken(fmt.Errorf("and %d more lines are like this", bad-named))
	}
}

// named is how many bad lines of a run are told of.
const named = 3

// parseLine is what one line says.
func parseLine(line string) (map[string]any, error) {
	if line[0] == '{' {
		return object(line)
	}
	return pairs(line)
}

// merge adds more to values, objects into objects.
func merge(values, more map[string]any) (err error) {
	for name, v := range more {
		old, known := values[name]
		before, isA := old.(map[string]any)
		below, isB := v.(map[string]any)
		if known && isA && isB {
			err = errors.Join(err, merge(before, below))
			continue
		}
		if known {
			err = fmt.Errorf("%s was said before", quote(name))
		}
		values[name] = v
	}
	return err
}

// object is a line that is one JSON object. Its numbers stay as they are written.
func object(line string) (values map[string]any, err error) {
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&values); err != nil {
		return nil, fmt.Errorf("%s is no JSON object: %w", quote(line), err)
	}
	if rest := line[d.InputOffset():]; strings.TrimSpace(rest) != "" {
		return nil, fmt.Errorf("%s stands behind the JSON object", quote(rest))
	}
	return values, nil
}

// pairs are NAME=VALUE with white space between them; a value with white space stands in double quotes. What is no number,
// true or false is text.
func pairs(line string) (map[string]any, error) {
	values := map[string]any{}
	for line = strings.TrimLeft(line, " \t,"); line != ""; line = strings.TrimLeft(line, " \t,") {
		name, rest, ok := strings.Cut(line, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t\"") {
			return nil, fmt.Errorf("%s is no NAME=VALUE", quote(line))
		}
		if values[name] != nil {
			return nil, fmt.Errorf("%s stands twice", quote(name))
		}
		if strings.HasPrefix(rest, `"`) {
			text, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("%s: a quote that nobody closes", quote(name))
			}
			values[name], line = unquote(text), rest[len(text):]
			continue
		}
		end := strings.IndexAny(rest, " \t")
		if end < 0 {
			end = len(rest)
		}
		values[name], line = word(strings.TrimRight(rest[:end], ",")), rest[end:]
	}
	return values, nil
}

func unquote(s string) string {
	text, err := strconv.Unquote(s)
	if err != nil {
		return s
	}
	return text
}

// word is what an unquoted value is.
func word(s string) any {
	switch s {
	case "true", "TRUE", "True":
		return true
	case "false", "FALSE", "False":
		return false
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && !strings.ContainsAny(s, "xXpP_") {
		return n
	}
	return s
}

// reading is a line as a reading of its own: the JSON object or the pairs that it is, else {"line": text}.
func (format Format) reading(line []byte) []byte {
	line = bytes.TrimSpace(bytes.Trim(line, "\x00")) // a power cut leaves zeros where a line was to be
	if len(line) == 0 {
		return nil
	}
	text := strings.ToValidUTF8(string(line), "\uFFFD")
	if format != Text {
		if text[0] == '{' && json.Valid([]byte(text)) {
			return []byte(text)
		}
		if values, err := parseLine(text); err == nil && len(values) > 0 {
			if body, err := json.Marshal(values); err == nil {
				return body
			}
		}
	}
	body, err := json.Marshal(map[string]string{"line": text})
	if err != nil {
		return nil
	}
	return body
}
