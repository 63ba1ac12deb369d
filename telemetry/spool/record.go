// Package spool is the queue on disk between a reading that was promised and the hub that acknowledges it.
//
// A reading is promised when Append has returned: it is on the medium, unless Limits.Within lets it live in memory
// first. It is forgotten when Ack names it.
package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// MaxBody is the longest body that Append takes. IoT Hub's limit is 256 KB for body and properties together
// (Microsoft: iot-hub-devguide-quotas-throttling); the rest is for the properties.
const MaxBody = 255 << 10

const (
	maxStream = 64      // the longest name of a stream
	maxType   = 127     // the longest media type
	maxPut    = 4 << 20 // the most that one Put takes, with what it adds
)

// usualType is the media type that a Record does not spell out.
const usualType = "application/json"

// ErrStream is in the error of Append for a stream name that is not 1 to 64 of a-z A-Z 0-9 - _ .
var ErrStream = errors.New("a stream is named by 1 to 64 of - _ . 0-9 A-Z a-z")

// ErrType is in the error of Put for a media type that is not up to 127 printable ASCII characters.
var ErrType = errors.New("a media type has up to 127 printable ASCII characters")

// ErrTooLarge is in the error of Append for a body longer than MaxBody, and of Put for more than 4 MiB, or half of
// Limits.MaxBytes, or where Limits.Within is set 32,768 readings, at once.
var ErrTooLarge = errors.New("that is more than can be taken")

// ErrFull is in the error of Append and Put when the limits leave no room, and Limits.Drop does not make any.
var ErrFull = errors.New("the spool is full")

// Record is one reading as it waits for the hub.
type Record struct {
	Seq    uint64 // rising over all streams of this spool: 1, 2, 3 …, with a gap where a power cut took what only memory had
	Time   time.Time
	Stream string // 1 to 64 of a-z A-Z 0-9 - _ .
	Type   string // media type of Body; "" = application/json
	Body   []byte // at most MaxBody
}

// Reading is what Put takes.
type Reading struct {
	Stream string // 1 to 64 of a-z A-Z 0-9 - _ .
	Type   string // media type of Body; "" = application/json
	Body   []byte // at most MaxBody
}

// acceptable says why a reading can never be stored.
func acceptable(r Reading) error {
	switch {
	case !ValidStream(r.Stream):
		return fault.As(fault.Permanent, fmt.Errorf("append to stream %.80q: %w", r.Stream, ErrStream))
	case !validType(r.Type):
		return fault.As(fault.Permanent, fmt.Errorf("append a body of type %.130q: %w", r.Type, ErrType))
	case len(r.Body) > MaxBody:
		return fault.As(fault.Permanent, fmt.Errorf("append %d bytes (at most %d): %w", len(r.Body), MaxBody, ErrTooLarge))
	}
	return nil
}

func validType(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return len(name) <= maxType
}

// ValidStream reports whether Append takes name as a stream's.
func ValidStream(name string) bool {
	for i := range len(name) {
		if !streamByte(name[i]) {
			return false
		}
	}
	return 0 < len(name) && len(name) <= maxStream
}

func streamByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '_' || c == '.'
}
