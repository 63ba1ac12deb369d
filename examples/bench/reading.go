package main

import (
	"bytes"
	"strconv"
)

// size of a reading in bytes.
const size = 200

const (
	mark  = `{"n":"#`
	digit = 9 // of a number
)

// reading is number n, of exactly size bytes. All of it follows from n, so that a wrong one is known when it comes.
func reading(b []byte, n int) []byte {
	start := len(b)
	b = append(b, mark...)
	for unit := 100_000_000; unit > 0; unit /= 10 {
		b = append(b, byte('0'+n/unit%10))
	}
	b = append(b, `#","of":"press p7","pad":"`...)
	for seed := uint32(n)*2654435761 + 1; len(b)-start < size-2; seed = seed*1664525 + 1013904223 {
		b = append(b, 'a'+byte(seed>>27)%26)
	}
	return append(b, `"}`...)
}

// scan finds the readings in a message, whatever they are packed in. A reading whose number can be read and whose text
// is another is reported as not whole.
func scan(payload []byte, found func(n int, whole bool)) {
	var want [size]byte
	for {
		at := bytes.Index(payload, []byte(mark))
		if at < 0 || len(payload) < at+len(mark)+digit {
			return
		}
		payload = payload[at:]
		n, err := strconv.Atoi(string(payload[len(mark) : len(mark)+digit]))
		if err == nil {
			found(n, bytes.HasPrefix(payload, reading(want[:0], n)))
		}
		payload = payload[len(mark)+digit:]
	}
}
