package iothub

import (
	"encoding/binary"
	"math"

	"github.com/devid-agent/devid-agent/telemetry/spool"
)

const typeCBOR = "application/cbor"

// The major types of RFC 8949, 3.1.
const (
	unsignedCBOR = 0 << 5
	bytesCBOR    = 2 << 5
	textCBOR     = 3 << 5
	arrayCBOR    = 4 << 5
	mapCBOR      = 5 << 5
	tagCBOR      = 6 << 5
)

const (
	epochTag   = 1  // seconds since 1970 (RFC 8949, 3.4.2)
	encodedTag = 24 // a byte string that is CBOR (3.4.5.1)
	double     = 7<<5 | 27
)

// appendCBOR appends r as a map of the same members as in JSON. "t" is a time (tag 1) with the precision of a double,
// well below a millisecond. "v" is a text string where the reading is JSON, CBOR within a byte string (tag 24) where
// it is CBOR, and else a byte string with "type".
func appendCBOR(b []byte, r *spool.Record, n uint64) []byte {
	text := isText(r)
	members := uint64(4)
	if text || r.Type == typeCBOR {
		members = 3
	}
	b = appendHead(b, mapCBOR, members)
	b = appendHead(appendText(b, "t"), tagCBOR, epochTag)
	b = binary.BigEndian.AppendUint64(append(b, double), math.Float64bits(float64(r.Time.UnixMilli())/1000))
	b = appendHead(appendText(b, "n"), unsignedCBOR, n)
	if members == 4 {
		b = appendText(appendText(b, "type"), first(r.Type, typeJSON))
	}
	b = appendText(b, "v")
	major := byte(bytesCBOR)
	if text {
		major = textCBOR
	} else if r.Type == typeCBOR {
		b = appendHead(b, tagCBOR, encodedTag)
	}
	return append(appendHead(b, major, uint64(len(r.Body))), r.Body...)
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, textCBOR, uint64(len(s))), s...)
}

// appendHead appends a major type and its argument in the shortest form (RFC 8949, 4.2.1).
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}
