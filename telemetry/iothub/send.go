package iothub

import (
	"fmt"
	"strconv"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// maxMessage is the largest device-to-cloud message, body and properties together.
const maxMessage = 256 << 10

// Send begins to publish the first n of records as one message: one, or the leading ones of a stream as far as the
// lane's Pack goes. A record that is too large for the hub is a Permanent error.
func (c *Conn) Send(lane *telemetry.Lane, records []spool.Record) (n int, f telemetry.Flight, err error) {
	if err := c.session.Err(); err != nil {
		return 0, nil, err
	}
	id := lane.ID
	if id == "" {
		id = c.config.SpoolID
	}
	m := message{n: 1, body: records[0].Body}
	if lane.Pack.Bytes > 0 {
		m = c.out.pack(lane.Pack, records, min(lane.Pack.Bytes, maxMessage)-c.head(id, records[0]))
	}
	if len(m.body)+c.head(id, records[0]) > maxMessage && m.packed {
		m = message{n: 1, body: records[0].Body} // by itself it may be small enough
	}
	topic := c.topic(id, records[0], m)
	if size := len(topic) + len(m.body); size > maxMessage {
		return 0, nil, fault.As(fault.Permanent, fmt.Errorf("record %d: %d bytes are more than the hub's %d", records[0].Seq, size, maxMessage))
	}
	return m.n, c.session.Publish(topic, m.body), nil
}

// message is what one or several records become.
type message struct {
	n        int // records
	packed   bool
	body     []byte
	kind     string // media type; "" = the record's
	encoding string // "" = as the kind has it
}

// head is about what topic and properties take.
func (c *Conn) head(id string, r spool.Record) int {
	const properties = 160
	return len(c.address) + len(id) + len(r.Stream) + len(r.Type) + properties
}

// typeJSON is what a record is where it does not say.
const typeJSON = "application/json"

// topic is where the message of r, and of those behind it, is published: its properties are in the name,
// percent-encoded. The message ID lets the receiver drop what it has already; it has the reading's time in it, because
// a medium that lost its newest readings, and every trace of them, makes the spool give their numbers again.
func (c *Conn) topic(id string, r spool.Record, m message) string {
	b := append(c.out.bag[:0], c.address...)
	b = append(b, "/messages/events/%24.mid="...)
	b = escaped(b, id)
	b = strconv.AppendUint(append(b, '-'), r.Seq, 10)
	b = strconv.AppendInt(append(b, '-'), r.Time.UnixNano(), 36)
	if m.packed {
		b = strconv.AppendInt(append(b, '-'), int64(m.n), 10)
	}
	b = append(b, "&%24.ct="...)
	b = escaped(b, first(m.kind, r.Type, typeJSON))
	if e := m.charset(r); e != "" {
		b = append(append(b, "&%24.ce="...), e...)
	}
	var clock [32]byte
	b = append(b, "&%24.ctime="...)
	b = escaped(b, string(r.Time.UTC().AppendFormat(clock[:0], milliseconds)))
	b = escaped(append(b, "&stream="...), r.Stream)
	b = strconv.AppendUint(append(b, "&seq="...), r.Seq, 10)
	if m.packed {
		b = strconv.AppendInt(append(b, "&count="...), int64(m.n), 10)
	}
	c.out.bag = b
	return string(b)
}

// milliseconds is the time of a reading as its message has it. The hub wants ISO 8601 in $.ctime.
const milliseconds = "2006-01-02T15:04:05.000Z"

// charset is the content encoding. The hub reads bodies for message routing only where it is utf-8 and the type JSON
// ("IoT Hub message routing query syntax", Microsoft Learn); what is not text has none.
func (m message) charset(r spool.Record) string {
	switch kind := first(m.kind, r.Type, typeJSON); {
	case m.encoding != "":
		return m.encoding
	case kind == typeJSON || len(kind) > 5 && kind[:5] == "text/":
		return "utf-8"
	}
	return ""
}

func first(choices ...string) string {
	for _, s := range choices {
		if s != "" {
			return s
		}
	}
	return ""
}

// escaped appends s percent-encoded as RFC 3986 has it; a space is %20 there.
func escaped(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	from := 0
	for i := range len(s) {
		if c := s[i]; c >= 128 || unreserved[c/64]>>(c%64)&1 == 0 {
			b = append(append(b, s[from:i]...), '%', hex[c>>4], hex[c&15])
			from = i + 1
		}
	}
	return append(b, s[from:]...)
}

// unreserved has a bit for each letter, digit, '-', '.', '_' and '~' (RFC 3986, 2.3).
var unreserved = [2]uint64{0x03ff600000000000, 0x47fffffe87fffffe}

// escape is escaped for those who have no buffer.
func escape(s string) string { return string(escaped(nil, s)) }
