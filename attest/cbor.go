package attest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/devid-agent/devid-agent/keys"
)

// File is what goes between device and verifier.
type File interface {
	keys.Evidence | keys.Challenge | keys.Answer | Secret
}

// CBOR is f in the one form that the deterministic encoding of RFC 8949, 4.2.1, gives it: a map of the names that it
// has in JSON, with byte strings for bytes.
func CBOR[F File](f F) []byte { return appendCBOR(nil, reflect.ValueOf(f)) }

// The major types of RFC 8949, 3.1.
const (
	unsignedCBOR = 0
	bytesCBOR    = 2
	textCBOR     = 3
	arrayCBOR    = 4
	mapCBOR      = 5

	falseCBOR = 7<<5 | 20
	trueCBOR  = 7<<5 | 21
)

var (
	errCBORShort = errors.New("it ends in the middle")
	errCBORDeep  = errors.New("its items lie deeper in each other than ours do")
	errCBORItem  = errors.New("it has an item of a kind that we do not write")
	errCBORForm  = errors.New("it is not in the deterministic form, or lacks a field")
)

func appendCBOR(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Pointer:
		return appendCBOR(b, v.Elem())
	case reflect.Struct:
		return appendFields(b, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(appendHead(b, bytesCBOR, v.Len()), v.Bytes()...)
		}
		b = appendHead(b, arrayCBOR, v.Len())
		for i := range v.Len() {
			b = appendCBOR(b, v.Index(i))
		}
		return b
	case reflect.String:
		return appendText(b, v.String())
	case reflect.Bool:
		if v.Bool() {
			return append(b, trueCBOR)
		}
		return append(b, falseCBOR)
	}
	return appendHead(b, unsignedCBOR, int(v.Int())) // the version
}

// appendFields appends a struct as the map that it is in JSON, sorted by its encoded keys.
func appendFields(b []byte, v reflect.Value) []byte {
	var fields []string
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if f := v.Field(i); option == "" || !f.IsZero() {
			fields = append(fields, string(appendCBOR(appendText(nil, name), f)))
		}
	}
	slices.Sort(fields) // no key is the beginning of another: its length stands before it
	return append(appendHead(b, mapCBOR, len(fields)), strings.Join(fields, "")...)
}

func appendText(b []byte, s string) []byte { return append(appendHead(b, textCBOR, len(s)), s...) }

// appendHead appends a major type and its argument in the shortest form.
func appendHead(b []byte, major byte, n int) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
}

// isCBOR tells a map of CBOR from JSON text, which no byte of this kind begins.
func isCBOR(b []byte) bool { return len(b) > 0 && b[0]>>5 == mapCBOR }

// decodeCBOR reads b by way of the JSON that it stands for, and refuses all but the one form of what it has read.
func decodeCBOR(b []byte, to any) error {
	r := cborReader{b}
	tree, err := r.item(0)
	if err != nil {
		return err
	}
	text, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	if err := decodeJSON(text, to); err != nil {
		return err
	}
	if !bytes.Equal(appendCBOR(nil, reflect.ValueOf(to)), b) {
		return errCBORForm
	}
	return nil
}

// cborReader is what is left to read.
type cborReader struct{ rest []byte }

// deepest is a certificate: in a chain, in the map of the TPM, in the evidence.
const deepest = 3

// item reads one item of the kinds that we write.
func (r *cborReader) item(depth int) (any, error) {
	major, n, err := r.head()
	if err != nil {
		return nil, err
	}
	if depth > deepest {
		return nil, errCBORDeep
	}
	switch major {
	case unsignedCBOR:
		return n, nil
	case bytesCBOR:
		return r.take(n)
	case textCBOR:
		return r.text(n)
	case arrayCBOR:
		var all []any
		for ; n > 0; n-- { // a lie about n ends with the bytes
			v, err := r.item(depth + 1)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, nil
	case mapCBOR:
		return r.fields(n, depth+1)
	}
	return major == trueCBOR, nil
}

func (r *cborReader) fields(n uint32, depth int) (map[string]any, error) {
	all := map[string]any{}
	for ; n > 0; n-- {
		key, err := r.item(depth)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errCBORItem
		}
		if all[name], err = r.item(depth); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (r *cborReader) text(n uint32) (string, error) {
	b, err := r.take(n)
	if err == nil && !utf8.Valid(b) {
		err = errCBORItem
	}
	return string(b), err
}

// head reads a major type and its argument, or falseCBOR or trueCBOR.
func (r *cborReader) head() (major byte, n uint32, err error) {
	first, err := r.take(1)
	if err != nil {
		return 0, 0, err
	}
	if first[0] == falseCBOR || first[0] == trueCBOR {
		return first[0], 0, nil
	}
	info := first[0] & 31
	if first[0]>>5 > mapCBOR || first[0]>>5 == 1 || info > 26 {
		return 0, 0, errCBORItem
	}
	if info < 24 {
		return first[0] >> 5, uint32(info), nil
	}
	argument, err := r.take(1 << (info - 24))
	for _, c := range argument {
		n = n<<8 | uint32(c)
	}
	return first[0] >> 5, n, err
}

func (r *cborReader) take(n uint32) ([]byte, error) {
	if uint64(n) > uint64(len(r.rest)) {
		return nil, errCBORShort
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken, nil
}
