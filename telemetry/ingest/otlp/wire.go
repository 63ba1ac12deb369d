package otlp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// The wire types of Protocol Buffers ("Encoding", protobuf.dev). Groups are of a time before proto3.
const (
	varint  = 0
	fixed64 = 1
	lengthy = 2 // bytes, text, a message, or packed numbers
	fixed32 = 5
)

// maxDepth is how deep the values of one attribute may lie in each other.
const maxDepth = 32

var (
	errShort = errors.New("it ends in the middle of a field")
	errForm  = errors.New("a field has a form that is unknown")
	errText  = errors.New("a text is not UTF-8")
	errDeep  = errors.New("values lie deeper in each other than 32 levels")
)

// field is one field of a message.
type field struct {
	number uint64
	form   byte   // the wire type
	n      uint64 // of a number
	b      []byte // of what is lengthy
}

// each calls do with the fields of message, in their order, until there is an error.
func each(message []byte, do func(field) error) error {
	for len(message) > 0 {
		f, rest, err := next(message)
		if err != nil {
			return err
		}
		if err := do(f); err != nil {
			return err
		}
		message = rest
	}
	return nil
}

// next is the field that b begins with, and what follows it.
func next(b []byte) (f field, rest []byte, err error) {
	tag, b, err := number(b, varint)
	if err != nil {
		return f, nil, err
	}
	f.number, f.form = tag>>3, byte(tag&7)
	if f.number == 0 || tag > math.MaxUint32 {
		return f, nil, errForm
	}
	f.n, b, err = number(b, f.form)
	if err != nil || f.form != lengthy {
		return f, b, err
	}
	if f.n > uint64(len(b)) {
		return f, nil, errShort
	}
	f.b, b = b[:f.n:f.n], b[f.n:]
	return f, b, nil
}

// number is the number that b begins with, and what follows it: of what is lengthy, the length.
func number(b []byte, form byte) (n uint64, rest []byte, err error) {
	size := 0
	switch form {
	case varint, lengthy:
		if n, size = binary.Uvarint(b); size < 0 {
			return 0, nil, errForm
		}
	case fixed64:
		if size = 8; len(b) >= size {
			n = binary.LittleEndian.Uint64(b)
		}
	case fixed32:
		if size = 4; len(b) >= size {
			n = uint64(binary.LittleEndian.Uint32(b))
		}
	default:
		return 0, nil, errForm
	}
	if size == 0 || size > len(b) {
		return 0, nil, errShort
	}
	return n, b[size:], nil
}

// of says that a field which is known here has this form, else what is wrong.
func (f field) of(form byte) error {
	if f.form != form {
		return fmt.Errorf("field %d: %w", f.number, errForm)
	}
	return nil
}

// text checks that the field is one.
func (f field) text() (string, error) {
	if err := f.of(lengthy); err != nil {
		return "", err
	}
	if !utf8.Valid(f.b) {
		return "", fmt.Errorf("field %d: %w", f.number, errText)
	}
	return string(f.b), nil
}

// numbers calls do with each number of a repeated field: packed, or this one.
func (f field) numbers(form byte, do func(uint64)) error {
	if f.form == form {
		do(f.n)
		return nil
	}
	if err := f.of(lengthy); err != nil {
		return err
	}
	for b := f.b; len(b) > 0; {
		n, rest, err := number(b, form)
		if err != nil {
			return err
		}
		do(n)
		b = rest
	}
	return nil
}

// appendTag adds what a field begins with.
func appendTag(b []byte, number uint64, form byte) []byte {
	return binary.AppendUvarint(b, number<<3|uint64(form))
}

// appendBytes adds a lengthy field.
func appendBytes[T string | []byte](b []byte, number uint64, value T) []byte {
	b = binary.AppendUvarint(appendTag(b, number, lengthy), uint64(len(value)))
	return append(b, value...)
}
