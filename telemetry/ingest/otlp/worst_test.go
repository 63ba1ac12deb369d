package otlp

import (
	"bytes"
	"runtime"
	"testing"
)

// A request of a megabyte costs what its bytes are worth, however they are arranged: what points share is not copied for
// each that is not stored.
func TestNoRequestCostsMuchMoreThanItsBytes(t *testing.T) {
	const size = 1 << 20
	in := func(number uint64, parts ...[]byte) []byte { return appendBytes(nil, number, bytes.Join(parts, nil)) }
	fill := func(part []byte, room int) []byte { return bytes.Repeat(part, room/len(part)) }
	long := bytes.Repeat([]byte("x"), size/2)
	pair := in(7, in(1, []byte("k")), in(2, in(1, long)))
	list := []byte{}
	for range maxDepth - 1 {
		list = in(5, in(1, list))
	}
	for name, request := range map[string][]byte{
		"empty points":                in(1, in(2, in(2, in(1, []byte("x")), in(9, fill([]byte{10, 0}, size))))),
		"points without a value":      in(1, in(2, in(2, in(1, []byte("x")), in(5, fill([]byte{10, 0}, size))))),
		"points of a long name":       in(1, in(2, in(2, in(1, long), in(9, fill([]byte{10, 0}, size/2))))),
		"gauges of a long name":       in(1, in(2, in(2, in(1, long), fill([]byte{5<<3 | 2, 0}, size/2)))),
		"scopes of a long resource":   in(1, in(1, in(1, in(1, []byte("k")), in(2, in(1, long)))), fill([]byte{18, 0}, size/2)),
		"points of a long resource":   in(1, in(1, in(1, in(1, []byte("k")), in(2, in(1, long)))), in(2, in(2, in(1, []byte("x")), in(9, fill([]byte{10, 0}, size/2))))),
		"one field again and again":   in(1, in(2, in(2, in(1, []byte("x")), in(5, in(1, fill([]byte{6<<3 | 1, 0, 0, 0, 0, 0, 0, 0, 0}, size/2)))))),
		"one long attribute":          in(1, in(2, in(2, in(1, []byte("x")), in(5, in(1, pair))))),
		"lists in lists":              in(1, in(2, in(2, in(1, []byte("x")), in(5, in(1, fill(in(7, in(1, []byte("k")), in(2, list)), size)))))),
		"attributes of telemetry.sdk": in(1, in(1, fill(in(1, in(1, []byte("telemetry.sdk.x"))), size))),
		"buckets, one by one":         in(1, in(2, in(2, in(1, []byte("x")), in(10, in(1, fill(in(8, []byte{16, 1}), size)))))),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = Read(request, Bounds{One: 255 << 10, All: size})
		runtime.ReadMemStats(&after)
		// Copies for each point would be thousands of times its size. The worst is about a hundred, all of it garbage soon, and the
		// race detector makes it a third more.
		if all := after.TotalAlloc - before.TotalAlloc; all > 256*size {
			t.Errorf("%s: %d MiB went through memory", name, all>>20)
		}
	}
}
