package iothub

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// packer makes messages of records. It keeps its buffers, and is used by one at a time.
type packer struct {
	bag     []byte
	scratch []byte
	zip     zipper
}

// pack makes a message of the leading records that are of one stream and fit into room bytes, and of one in any case.
//
// In JSON it is an array of objects, one for each reading, which Stream Analytics and Data Explorer (multijson) take
// apart by themselves: "t" is the time in milliseconds since 1970, "v" the reading, and "n" its number less that of the first, which is
// a property of the message. They are short because they are most of what a pack adds. A reading that is not JSON has its media type in "type", and is in base64 (RFC 4648, 4).
func (p *packer) pack(how telemetry.Pack, records []spool.Record, room int) message {
	m := message{packed: true, kind: typeJSON}
	add, room := appendJSON, room-1 // the end of the array
	if how.Format == "cbor" {
		m.kind, add, room = typeCBOR, appendCBOR, room-2 // and its head there
	}
	b := p.scratch[:0]
	for i := range records {
		if records[i].Stream != records[0].Stream {
			break
		}
		next := add(b, &records[i], records[i].Seq-records[0].Seq)
		if i > 0 && len(next) > room {
			break
		}
		b = next
		m.n++
	}
	p.scratch = keep(b)
	m.body = enclose(how.Format, b, m.n)
	if how.Gzip {
		m.body, m.encoding = p.zip.compress(m.body, m.encoding)
	}
	return m
}

// keep returns a buffer to go on with; one that a huge record has made is not kept.
func keep(b []byte) []byte {
	if cap(b) > 64<<10 {
		return nil
	}
	return b
}

// enclose makes an array of n elements.
func enclose(format string, elements []byte, n int) []byte {
	if format == "cbor" {
		return append(appendHead(make([]byte, 0, len(elements)+3), arrayCBOR, uint64(n)), elements...)
	}
	b := append(make([]byte, 0, len(elements)+1), elements...)
	b[0] = '['
	return append(b, ']')
}

// appendJSON appends r, which is n behind the first, with the comma before it.
func appendJSON(b []byte, r *spool.Record, n uint64) []byte {
	b = append(b, `,{"t":`...)
	b = strconv.AppendInt(b, r.Time.UnixMilli(), 10)
	b = append(b, `,"n":`...)
	b = strconv.AppendUint(b, n, 10)
	if isText(r) {
		b = append(b, `,"v":`...)
		return append(append(b, bytes.TrimSpace(r.Body)...), '}')
	}
	kind, _ := json.Marshal(first(r.Type, typeJSON)) // a string is no error
	b = append(append(b, `,"type":`...), kind...)
	b = append(b, `,"v":"`...)
	b = base64.StdEncoding.AppendEncode(b, r.Body)
	return append(b, `"}`...)
}

// isText reports whether r can stand in a message of text as it is. One reading that is not what it says must not make a
// whole pack unreadable.
func isText(r *spool.Record) bool {
	return (r.Type == "" || r.Type == typeJSON) && utf8.Valid(r.Body) && json.Valid(r.Body)
}
