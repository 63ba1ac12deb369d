package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxLevels is how deep messages may lie in each other: a list of lists adds two levels, or three, for each.
const maxLevels = 8 + 3*maxDepth

var (
	errJSON = errors.New("it is not JSON")
	errKind = errors.New("a value of this kind is not expected here")
)

// FromJSON is a request in JSON, by the rules of OTLP/HTTP ("JSON Protobuf Encoding"), in Protocol Buffers.
func FromJSON(request []byte) ([]byte, error) {
	if !utf8.Valid(request) {
		return nil, fmt.Errorf("read the metrics: %w", errText)
	}
	if !json.Valid(request) {
		return nil, fmt.Errorf("read the metrics: %w", errJSON)
	}
	t := translator{json.NewDecoder(bytes.NewReader(request))}
	t.UseNumber()
	b, err := t.item(make([]byte, 0, len(request)/2), &member{is: message}, 0)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	return b, nil
}

// translator reads JSON that is known to be valid.
type translator struct{ *json.Decoder }

// members adds the members of an object whose { was read, up to and with its }.
func (t translator) members(b []byte, layout entry, level int) ([]byte, error) {
	if level > maxLevels {
		return nil, errDeep
	}
	for t.More() {
		key, err := t.Token()
		if err != nil {
			return nil, err
		}
		m := layout.byName(key)
		if m == nil {
			var skipped json.RawMessage
			if err := t.Decode(&skipped); err != nil {
				return nil, err
			}
			continue
		}
		if b, err = t.member(b, m, level); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	_, err := t.Token()
	return b, err
}

func (e entry) byName(key json.Token) *member {
	members := e.members()
	for i := range members {
		if members[i].name == key {
			return &members[i]
		}
	}
	return nil
}

// member adds m, once for each item where it is repeated.
func (t translator) member(b []byte, m *member, level int) ([]byte, error) {
	if !m.repeated {
		return t.item(b, m, level)
	}
	start, err := t.Token()
	if err != nil || start == nil {
		return b, err
	}
	if start != json.Delim('[') {
		return nil, errKind
	}
	for t.More() {
		if b, err = t.item(b, m, level); err != nil {
			return nil, err
		}
	}
	_, err = t.Token()
	return b, err
}

// item adds what comes next; null is nothing.
func (t translator) item(b []byte, m *member, level int) ([]byte, error) {
	token, err := t.Token()
	if err != nil || token == nil {
		return b, err
	}
	if m.is < message {
		return scalar(b, m, token)
	}
	if token != json.Delim('{') {
		return nil, errKind
	}
	if m.number == 0 { // the request itself
		return t.members(b, m.is, level+1)
	}
	b = appendTag(b, uint64(m.number), lengthy)
	start := len(b)
	if b, err = t.members(b, m.is, level+1); err != nil {
		return nil, err
	}
	var size [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(size[:], uint64(len(b)-start))
	b = append(b, size[:n]...)
	copy(b[start+n:], b[start:])
	copy(b[start:], size[:n])
	return b, nil
}

func scalar(b []byte, m *member, token json.Token) ([]byte, error) {
	switch value := token.(type) {
	case bool:
		if m.is == boolean {
			return appendNumber(b, m, flag(value)), nil
		}
	case string:
		switch m.is {
		case text:
			return appendBytes(b, uint64(m.number), value), nil
		case octets:
			plain, err := fromBase64(value)
			return appendBytes(b, uint64(m.number), plain), err
		}
		return numeral(b, m, value)
	case json.Number:
		return numeral(b, m, value.String())
	}
	return nil, errKind
}

func flag(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// fromBase64 takes what Protocol Buffers take in JSON: either alphabet, padded or not.
func fromBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// numeral adds a number, which may be in quotes: JSON has no numbers of 64 bits everywhere.
func numeral(b []byte, m *member, digits string) ([]byte, error) {
	switch m.is {
	case text, octets, boolean:
		return nil, errKind
	case float:
		n, err := strconv.ParseFloat(digits, 64)
		return appendNumber(b, m, math.Float64bits(n)), err
	case unsigned, counter, instant:
		n, err := strconv.ParseUint(digits, 10, 64)
		return appendNumber(b, m, n), err
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if m.is == signed {
		n = n<<1 ^ n>>63
	}
	return appendNumber(b, m, uint64(n)), err
}

func appendNumber(b []byte, m *member, n uint64) []byte {
	b = appendTag(b, uint64(m.number), m.is.form())
	if m.is.form() == fixed64 {
		return binary.LittleEndian.AppendUint64(b, n)
	}
	return binary.AppendUvarint(b, n)
}
