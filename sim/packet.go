package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Control packet types of MQTT 3.1.1, section 2.2.1.
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
	typeDisconnect  = 14
)

// The packets that a device may send. PINGREQ and DISCONNECT have nothing in them.
type (
	connect struct {
		known     bool // it is MQTT 3.1.1; else nothing more is filled in
		clean     bool
		keepAlive uint16
		clientID  string
		will      *publish
		username  string
		password  []byte
	}
	publish struct {
		dup, retain bool
		qos         byte
		topic       string
		id          uint16
		payload     []byte
	}
	puback    struct{ id uint16 }
	subscribe struct {
		id      uint16
		filters []subscription
	}
	subscription struct {
		filter string
		qos    byte
	}
	unsubscribe struct {
		id      uint16
		filters []string
	}
	pingreq    struct{}
	disconnect struct{}
)

var errMalformed = errors.New("malformed packet")

func malformed(what string) error { return fmt.Errorf("%w: %s", errMalformed, what) }

// readPacket reads one packet of at most limit bytes after its fixed header.
func readPacket(r io.Reader, limit int) (any, error) {
	var first [1]byte
	if _, err := io.ReadFull(r, first[:]); err != nil {
		return nil, err
	}
	length, err := readLength(r)
	if err != nil {
		return nil, err
	}
	if length > limit {
		return nil, fmt.Errorf("packet of %d bytes: more than %d", length, limit)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return parsePacket(first[0], body)
}

// readLength reads a remaining length: at most four bytes, seven bits each.
func readLength(r io.Reader) (int, error) {
	length := 0
	for shift := 0; shift < 28; shift += 7 {
		var b [1]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return 0, err
		}
		length |= int(b[0]&0x7f) << shift
		if b[0]&0x80 == 0 {
			return length, nil
		}
	}
	return 0, malformed("remaining length of more than four bytes")
}

func parsePacket(first byte, body []byte) (any, error) {
	kind, flags := first>>4, first&0x0f
	f := &fields{rest: body}
	if kind == typePublish {
		return parsePublish(flags, f)
	}
	want := byte(0)
	if kind == typeSubscribe || kind == typeUnsubscribe {
		want = 2
	}
	if flags != want {
		return nil, malformed(fmt.Sprintf("reserved flags %04b of packet type %d", flags, kind))
	}
	switch kind {
	case typeConnect:
		return parseConnect(f)
	case typePuback:
		id := f.id()
		return puback{id}, f.done()
	case typeSubscribe:
		return parseSubscribe(f)
	case typeUnsubscribe:
		return parseUnsubscribe(f)
	case typePingreq:
		return pingreq{}, f.done()
	case typeDisconnect:
		return disconnect{}, f.done()
	}
	return nil, malformed(fmt.Sprintf("packet type %d from a device", kind))
}

func parseConnect(f *fields) (*connect, error) {
	name, level := f.text(), f.octet()
	if f.err != nil {
		return nil, f.err
	}
	if name != "MQTT" && name != "MQIsdp" {
		return nil, malformed("protocol name")
	}
	if name != "MQTT" || level != 4 {
		return &connect{}, nil
	}
	flags := f.octet()
	if flags&1 != 0 {
		return nil, malformed("reserved connect flag")
	}
	c := &connect{known: true, clean: flags&0x02 != 0, keepAlive: f.short(), clientID: f.text()}
	if err := parseWill(c, flags, f); err != nil {
		return nil, err
	}
	if flags&0x80 != 0 {
		c.username = f.text()
	} else if flags&0x40 != 0 {
		return nil, malformed("password without user name")
	}
	if flags&0x40 != 0 {
		c.password = f.bytes()
	}
	return c, f.done()
}

func parseWill(c *connect, flags byte, f *fields) error {
	qos := flags >> 3 & 3
	if flags&0x04 == 0 {
		if flags&0x38 != 0 {
			return malformed("will QoS or retain without will")
		}
		return nil
	}
	if qos == 3 {
		return malformed("will QoS 3")
	}
	c.will = &publish{qos: qos, retain: flags&0x20 != 0, topic: f.text(), payload: f.bytes()}
	return nil
}

func parsePublish(flags byte, f *fields) (*publish, error) {
	p := &publish{dup: flags&8 != 0, qos: flags >> 1 & 3, retain: flags&1 != 0, topic: f.text()}
	switch {
	case p.qos == 3:
		return nil, malformed("QoS 3")
	case p.qos == 0 && p.dup:
		return nil, malformed("DUP with QoS 0")
	case f.err == nil && (p.topic == "" || strings.ContainsAny(p.topic, "+#")):
		return nil, malformed("topic name")
	}
	if p.qos > 0 {
		p.id = f.id()
	}
	p.payload, f.rest = f.rest, nil
	return p, f.err
}

func parseSubscribe(f *fields) (*subscribe, error) {
	s := &subscribe{id: f.id()}
	for f.err == nil && len(f.rest) > 0 {
		one := subscription{f.filter(), f.octet()}
		if one.qos > 2 {
			return nil, malformed("requested QoS")
		}
		s.filters = append(s.filters, one)
	}
	if f.err == nil && len(s.filters) == 0 {
		return nil, malformed("SUBSCRIBE without a filter")
	}
	return s, f.err
}

func parseUnsubscribe(f *fields) (*unsubscribe, error) {
	u := &unsubscribe{id: f.id()}
	for f.err == nil && len(f.rest) > 0 {
		u.filters = append(u.filters, f.filter())
	}
	if f.err == nil && len(u.filters) == 0 {
		return nil, malformed("UNSUBSCRIBE without a filter")
	}
	return u, f.err
}

// fields takes a packet apart. After the first mistake every answer is zero and err says what it was.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) take(n int) []byte {
	if f.err == nil && len(f.rest) < n {
		f.err = malformed("it ends too early")
	}
	if f.err != nil {
		return make([]byte, n)
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) octet() byte   { return f.take(1)[0] }
func (f *fields) short() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) bytes() []byte { return f.take(int(f.short())) }

func (f *fields) id() uint16 {
	id := f.short()
	if f.err == nil && id == 0 {
		f.err = malformed("packet identifier 0")
	}
	return id
}

// text is UTF-8 without U+0000, section 1.5.3.
func (f *fields) text() string {
	b := f.bytes()
	if f.err == nil && (!utf8.Valid(b) || strings.ContainsRune(string(b), 0)) {
		f.err = malformed("text is not UTF-8")
	}
	return string(b)
}

// filter is a topic filter, section 4.7: '#' only as the last level, '+' only as a whole level.
func (f *fields) filter() string {
	s := f.text()
	levels := strings.Split(s, "/")
	for i, level := range levels {
		wild := strings.ContainsAny(level, "+#")
		if f.err == nil && (s == "" || wild && len(level) > 1 || level == "#" && i < len(levels)-1) {
			f.err = malformed("topic filter")
		}
	}
	return s
}

func (f *fields) done() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = malformed("bytes after its end")
	}
	return f.err
}
