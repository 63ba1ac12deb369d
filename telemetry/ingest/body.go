package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// The media types that are taken. Of a batch, each reading has the type of its kind.
const (
	typeJSON     = "application/json"
	typeCBOR     = "application/cbor"
	typeRaw      = "application/octet-stream"
	typeText     = "text/plain"
	typeLines    = "application/x-ndjson"
	typeSequence = "application/cbor-seq" // RFC 8742

	theTypes = "send Content-Type: " + typeJSON + ", " + typeCBOR + ", " + typeRaw + " or " + typeText + " for one reading, " +
		typeLines + " or " + typeSequence + " for a batch; text in UTF-8, and no Content-Encoding"
)

// isBatch reports whether a body of this type is many readings. An array of JSON is one: readings are arrays, too.
func isBatch(kind string) bool { return kind == typeLines || kind == typeSequence }

// mediaType is the type of what r carries, when it is one of ours.
func mediaType(h http.Header) (string, *refusal) {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, set := params["charset"]
	if err == nil && (!set || strings.EqualFold(charset, "utf-8")) && h.Get("Content-Encoding") == "" {
		switch kind {
		case typeJSON, typeCBOR, typeRaw, typeText, typeLines, typeSequence:
			return kind, nil
		}
	}
	return "", &refusal{status: http.StatusUnsupportedMediaType, Err: "the body is not announced as a type that is taken here", Hint: theTypes}
}

// readings is what body holds, when all of it is as its type says.
func readings(stream, kind string, body []byte) ([]spool.Reading, error) {
	switch kind {
	case typeLines:
		return lines(stream, body)
	case typeSequence:
		return sequence(stream, body)
	case typeJSON:
		if !json.Valid(body) {
			return nil, fmt.Errorf("the reading is not JSON%w", whyInvalid(body))
		}
		kind = ""
	case typeCBOR:
		if n, err := cborItem(body); err != nil {
			return nil, fmt.Errorf("the reading is not CBOR: byte %d: %w", n, err)
		} else if n < len(body) {
			return nil, fmt.Errorf("behind the reading, at byte %d, is more: a batch is %s", n, typeSequence)
		}
	case typeText:
		if !utf8.Valid(body) {
			return nil, errors.New("the text is not UTF-8")
		}
	}
	return []spool.Reading{{Stream: stream, Type: kind, Body: body}}, nil
}

// maxReadings is how many a batch may have: each costs memory, however short it is.
const maxReadings = 32768

var (
	errEmpty = errors.New("the batch has no reading")
	errMany  = fmt.Errorf("a batch has at most %d readings", maxReadings)
)

// lines is a batch of JSON, one reading a line; empty lines are none, as the specification of ndjson allows.
func lines(stream string, body []byte) (all []spool.Reading, err error) {
	for n := 1; len(body) > 0; n++ {
		line, rest, _ := bytes.Cut(body, []byte{'\n'})
		body = rest
		line = bytes.TrimRight(line, " \t\r")
		if len(line) == 0 {
			continue
		}
		if len(line) > spool.MaxBody {
			return nil, fmt.Errorf("line %d: %w", n, tooLong(len(line)))
		}
		if !json.Valid(line) {
			return nil, fmt.Errorf("line %d is not JSON%w", n, whyInvalid(line))
		}
		if len(all) == maxReadings {
			return nil, errMany
		}
		all = append(all, spool.Reading{Stream: stream, Body: line})
	}
	if len(all) == 0 {
		return nil, errEmpty
	}
	return all, nil
}

// sequence is a batch of CBOR, one item behind the other.
func sequence(stream string, body []byte) (all []spool.Reading, err error) {
	for at, n := 0, 0; at < len(body); at += n {
		if n, err = cborItem(body[at:]); err != nil {
			return nil, fmt.Errorf("item %d is not CBOR: byte %d: %w", len(all)+1, at+n, err)
		}
		if n > spool.MaxBody {
			return nil, fmt.Errorf("item %d: %w", len(all)+1, tooLong(n))
		}
		if len(all) == maxReadings {
			return nil, errMany
		}
		all = append(all, spool.Reading{Stream: stream, Type: typeCBOR, Body: body[at : at+n]})
	}
	if len(all) == 0 {
		return nil, errEmpty
	}
	return all, nil
}

func tooLong(n int) error {
	return fmt.Errorf("%d bytes, and a reading has at most %d", n, spool.MaxBody)
}

// whyInvalid says at which byte body stops being JSON.
func whyInvalid(body []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(body, &v)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf(": byte %d: %w", e.Offset, e)
	}
	return errors.New("")
}
