package otlp

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
)

// errNoValue is for a data point without what is required of it.
var errNoValue = errors.New("it has no value of a kind that is known here")

// appendMembers adds the members of a message as those of a JSON object, each with a comma before it.
func appendMembers(b, from []byte, layout entry, depth int) ([]byte, error) {
	members := layout.members()
	said := make([][]byte, len(members))
	missing := false // DataPointFlags: there is no value, also where one seems to be
	err := each(from, func(f field) (err error) {
		for i := range members {
			m := &members[i]
			if uint64(m.number) != f.number {
				continue
			}
			for i > 0 && members[i-1].as == m.as && m.as != "" {
				i--
			}
			said[i], err = m.value(said[i], f, depth)
			missing = missing || m.is == flags && len(said[i]) > 0
			break
		}
		return err
	})
	if err != nil {
		return b, err
	}
	for i := range members {
		m, value := &members[i], said[i]
		if missing && m.is != instant && m.is != flags && m.is != keyValue {
			continue
		}
		if b, err = m.appendTo(b, value); err != nil {
			return b, err
		}
	}
	return b, nil
}

// value is what f says: of a member that is repeated, behind what was said before.
func (m *member) value(before []byte, f field, depth int) (_ []byte, err error) {
	if !m.repeated {
		before = before[:0]
	}
	if m.repeated && m.is < message {
		err = f.numbers(m.is.form(), func(n uint64) { before, _ = m.is.append(comma(before), field{n: n}, depth) })
		return before, err
	}
	if err := f.of(m.is.form()); err != nil {
		return nil, err
	}
	return m.is.append(comma(before), f, depth)
}

// appendTo adds the member with its value, if it has one.
func (m *member) appendTo(b, value []byte) ([]byte, error) {
	name, around := m.as, ""
	if name == "" {
		name = m.name
	}
	switch {
	case len(value) == 0 && m.usual == required:
		return b, errNoValue
	case len(value) == 0 && m.usual == "":
		return b, nil
	case len(value) == 0:
		value = []byte(m.usual)
	case m.is == keyValue:
		around = "{}"
	case m.repeated:
		around = "[]"
	}
	b = join(b, `,"`, name, `":`)
	if around == "" {
		return append(b, value...), nil
	}
	return append(append(append(b, around[0]), value...), around[1]), nil
}

// append adds what f says.
func (e entry) append(b []byte, f field, depth int) ([]byte, error) {
	switch e {
	case text:
		s, err := f.text()
		return appendText(b, s), err
	case octets:
		return join(b, `"`, base64.StdEncoding.EncodeToString(f.b), `"`), nil
	case boolean:
		return strconv.AppendBool(b, f.n != 0), nil
	case integer, wide:
		return strconv.AppendInt(b, int64(f.n), 10), nil
	case signed:
		return strconv.AppendInt(b, int64(f.n>>1)^-int64(f.n&1), 10), nil
	case unsigned, counter:
		return strconv.AppendUint(b, f.n, 10), nil
	case float:
		return appendDouble(b, math.Float64frombits(f.n)), nil
	case instant:
		return appendTime(b, f.n), nil
	case temporality:
		return appendTemporality(b, f.n), nil
	case flags:
		if f.n&1 != 0 { // DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
			b = append(b, "true"...)
		}
		return b, nil
	}
	return e.appendMessage(b, f.b, depth)
}

func (e entry) appendMessage(b, from []byte, depth int) ([]byte, error) {
	if depth == maxDepth {
		return b, errDeep
	}
	switch e {
	case keyValue:
		return appendPair(b, from, depth)
	case anyValue:
		return appendAny(b, from, depth)
	}
	members, err := appendMembers(nil, from, e, depth+1)
	const name = `,"values":`
	switch {
	case e == arrayValue && len(members) == 0:
		return append(b, "[]"...), err
	case e == keyValueList && len(members) == 0:
		return append(b, "{}"...), err
	case e == arrayValue || e == keyValueList: // what is in them stands for itself
		return append(b, members[len(name):]...), err
	case len(members) == 0:
		return b, err
	}
	members[0] = '{' // it was a comma
	return append(append(b, members...), '}'), err
}

// appendPair adds a KeyValue.
func appendPair(b, from []byte, depth int) ([]byte, error) {
	key, value := []byte(`""`), []byte("null")
	err := each(from, func(f field) (err error) {
		if m := keyValue.byNumber(f.number); m == nil {
			return nil
		} else if m.is == text {
			key, err = m.value(nil, f, depth)
		} else {
			value, err = m.value(nil, f, depth)
		}
		return err
	})
	return append(append(append(b, key...), ':'), value...), err
}

// appendAny adds an AnyValue, which is the last thing that is said.
func appendAny(b, from []byte, depth int) ([]byte, error) {
	value := []byte("null")
	err := each(from, func(f field) (err error) {
		if m := anyValue.byNumber(f.number); m != nil {
			value, err = m.value(nil, f, depth)
		}
		return err
	})
	return append(b, value...), err
}

// appendTime adds ns, nanoseconds since 1970, if they are known.
func appendTime(b []byte, ns uint64) []byte {
	if ns == 0 {
		return b
	}
	t := time.Unix(int64(ns/1e9), int64(ns%1e9)).UTC()
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

func appendTemporality(b []byte, n uint64) []byte {
	switch n {
	case 1:
		return append(b, `"delta"`...)
	case 2:
		return append(b, `"cumulative"`...)
	}
	return b
}

// appendDouble adds n. What JSON has no number for is named as Protocol Buffers do in JSON.
func appendDouble(b []byte, n float64) []byte {
	switch {
	case math.IsNaN(n):
		return append(b, `"NaN"`...)
	case math.IsInf(n, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(n, -1):
		return append(b, `"-Infinity"`...)
	}
	return strconv.AppendFloat(b, n, 'g', -1, 64)
}

func appendText(b []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // a text always goes
	return append(b, quoted...)
}

// comma separates what follows from what is there.
func comma(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	return append(b, ',')
}

func join(b []byte, parts ...string) []byte {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
