// Package spool is the queue on disk between a reading that was promised and the hub that acknowledges it.
//
// A reading is promised when Append has returned: it is on the medium. It is forgotten when Ack names it.
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

// maxStream is the longest name of a stream.
const maxStream = 64

// ErrStream is in the error of Append for a stream name that is not 1 to 64 of a-z A-Z 0-9 - _ .
var ErrStream = errors.New("a stream is named by 1 to 64 of - _ . 0-9 A-Z a-z")

// ErrTooLarge is in the error of Append for a body longer than MaxBody.
var ErrTooLarge = errors.New("the body is longer than a hub takes")

// Record is one reading as it waits for the hub.
type Record struct {
	Seq    uint64 // 1, 2, 3 … over all streams of this spool, without gaps
	Time   time.Time
	Stream string // 1 to 64 of a-z A-Z 0-9 - _ .
	Body   []byte // at most MaxBody
}

// acceptable says why a reading can never be stored.
func acceptable(stream string, body []byte) error {
	if !ValidStream(stream) {
		return fault.As(fault.Permanent, fmt.Errorf("append to stream %.80q: %w", stream, ErrStream))
	}
	if len(body) > MaxBody {
		return fault.As(fault.Permanent, fmt.Errorf("append %d bytes (at most %d): %w", len(body), MaxBody, ErrTooLarge))
	}
	return nil
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
