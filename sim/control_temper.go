package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// temperWords are how the kinds of misbehaviour that are no numbers are written, in the order of their values.
var temperWords = map[reflect.Type][]string{
	reflect.TypeFor[OldCert]():     {"lives", "dies-issue", "dies-connect"},
	reflect.TypeFor[ServerFault](): {"good", "expired", "other-name", "foreign", "truncated", "tls11"},
	reflect.TypeFor[WebFault]():    {"good", "page", "huge", "slow", "cut"},
	reflect.TypeFor[ESTEncoding](): {"one-line", "lines", "pem", "der", "indefinite"},
	reflect.TypeFor[ESTAnswer](): {"good", "page", "wrong-key", "wrong-subject", "wrong-issuer", "expired", "future", "with-chain",
		"lost-names", "old-one", "empty", "no-certs", "rubbish", "truncated", "slow", "huge", "wrong-type"},
	reflect.TypeFor[EZCAAnswer](): {"good", "page", "error", "failure", "wrong-key", "wrong-subject", "wrong-issuer", "expired",
		"future", "lost-names", "old-one", "no-root", "empty-root", "double", "no-armour", "crlf", "chain", "empty", "rubbish",
		"truncated", "slow", "huge"},
}

// ParseTemper reads a temper from a JSON object: a member for each field, whatever its case, durations as "50ms", those of
// one service in an object of their own. What a file can say can be set, so not Fault.
func ParseTemper(b []byte) (Temper, error) {
	var t Temper
	err := t.Merge(b)
	return t, err
}

// Merge changes what the JSON object b has. After an error t is as it was.
func (t *Temper) Merge(b []byte) error {
	members, err := parsePatch(b)
	if err != nil {
		return err
	}
	next := *t
	if err := setMembers(reflect.ValueOf(&next).Elem(), members); err != nil {
		return err
	}
	*t = next
	return nil
}

// Set changes the field of that name, whatever its case: "LostAck", "EZCA.Status".
func (t *Temper) Set(name, value string) error {
	v := reflect.ValueOf(t).Elem()
	for part := range strings.SplitSeq(name, ".") {
		field, err := fieldNamed(v, part)
		if err != nil {
			return err
		}
		v = field
	}
	if v.Kind() == reflect.Struct {
		return fmt.Errorf("%s has several parts: set one, as %s.%s", name, name, v.Type().Field(0).Name)
	}
	return setField(v, name, value)
}

// JSON is the temper as ParseTemper reads it: what makes this cloud less than perfect, but for Fault.
func (t Temper) JSON() []byte { return t.json(false) }

// json has all fields, also those that are not set, where it is asked for all.
func (t Temper) json(all bool) []byte {
	b, err := json.MarshalIndent(temperMembers(reflect.ValueOf(t), all), "", "  ")
	if err != nil {
		panic(err) // only strings, numbers and booleans come here
	}
	return append(b, '\n')
}

func setMembers(v reflect.Value, members map[string]any) error {
	for name, value := range members {
		field, err := fieldNamed(v, name)
		if err != nil {
			return err
		}
		inner, isObject := value.(map[string]any)
		switch {
		case isObject != (field.Kind() == reflect.Struct):
			return fmt.Errorf("%s: an object is where none belongs, or the other way round", name)
		case isObject:
			err = setMembers(field, inner)
		default:
			err = setField(field, name, fmt.Sprint(value))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func fieldNamed(v reflect.Value, name string) (reflect.Value, error) {
	if v.Kind() != reflect.Struct {
		return v, fmt.Errorf("%s: what it belongs to has no parts", name)
	}
	field := v.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, name) })
	if !field.IsValid() || !field.CanSet() || field.Kind() == reflect.Func {
		return field, fmt.Errorf("%s is not one of %s", name, strings.Join(fieldNames(v.Type()), ", "))
	}
	return field, nil
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if f.Type.Kind() != reflect.Func {
			names = append(names, f.Name)
		}
	}
	return names
}

func setField(field reflect.Value, name, value string) error {
	v, err := parseField(field.Type(), value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	field.Set(v.Convert(field.Type()))
	return nil
}

func parseField(t reflect.Type, value string) (reflect.Value, error) {
	if words := temperWords[t]; words != nil {
		i := slices.Index(words, value)
		if i < 0 {
			return reflect.Value{}, fmt.Errorf("%q is not one of %s", value, strings.Join(words, ", "))
		}
		return reflect.ValueOf(i), nil
	}
	var v any
	var err error
	switch {
	case t == reflect.TypeFor[time.Duration]():
		v, err = time.ParseDuration(value)
	case t == reflect.TypeFor[[]byte]():
		v, err = decodeBytes(value)
	case t.Kind() == reflect.Int:
		v, err = strconv.Atoi(value)
	case t.Kind() == reflect.Bool:
		v, err = strconv.ParseBool(value)
	case t.Kind() == reflect.String:
		v = value
	default:
		err = fmt.Errorf("cannot be set here")
	}
	return reflect.ValueOf(v), err
}

// decodeBytes: no text is no bytes at all, which means another thing than none of them.
func decodeBytes(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(text)
}

// temperMembers is the way back.
func temperMembers(v reflect.Value, all bool) json.RawMessage {
	var members []string
	for _, name := range fieldNames(v.Type()) {
		if field := v.FieldByName(name); all || !field.IsZero() {
			members = append(members, fmt.Sprintf("%q:%s", name, marshal(fieldValue(field, all))))
		}
	}
	return json.RawMessage("{" + strings.Join(members, ",") + "}")
}

func fieldValue(v reflect.Value, all bool) any {
	if words := temperWords[v.Type()]; words != nil {
		return words[v.Uint()]
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case []byte:
		return base64.StdEncoding.EncodeToString(x)
	case int, bool, string:
		return x
	}
	if v.Kind() == reflect.Struct {
		return temperMembers(v, all)
	}
	return fmt.Sprint(v.Interface())
}
