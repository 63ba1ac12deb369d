package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// The control packets of MQTT 3.1.1, section 2.2.1.
const (
	connect     = 1
	connack     = 2
	publish     = 3
	puback      = 4
	pubrec      = 5
	pubrel      = 6
	pubcomp     = 7
	subscribe   = 8
	suback      = 9
	unsubscribe = 10
	unsuback    = 11
	pingreq     = 12
	pingresp    = 13
	disconnect  = 14
)

// The answers of CONNACK, section 3.2.2.3.
const (
	accepted      = 0
	wrongLevel    = 1
	wrongID       = 2
	wrongPassword = 4
	notAuthorized = 5
)

// errMalformed is in the error of whatever is not MQTT 3.1.1; the server hangs up on it (section 4.8).
var errMalformed = errors.New("not MQTT 3.1.1")

func malformed(what string) error { return fmt.Errorf("%s: %w", what, errMalformed) }

// header is the fixed header of a packet.
type header struct {
	kind  byte
	flags byte
	size  int // of what follows
}

// check says whether a client may send such a packet (sections 2.2.2 and 3.x.1).
func (h header) check() error {
	flags, empty := byte(0), false
	switch h.kind {
	case publish:
		if h.flags>>1&3 == 3 {
			return malformed("a PUBLISH of QoS 3")
		}
		return nil
	case pubrel, subscribe, unsubscribe:
		flags = 2
	case pingreq, disconnect:
		empty = true
	case connect:
	default:
		return malformed(fmt.Sprintf("a packet of type %d", h.kind))
	}
	if h.flags != flags || empty && h.size > 0 {
		return malformed(fmt.Sprintf("the header of a packet of type %d", h.kind))
	}
	return nil
}

// fields takes a packet apart. After the first that is not there, nothing is.
type fields struct {
	b     []byte
	wrong bool
}

func (f *fields) take(n int) []byte {
	if len(f.b) < n {
		f.b, f.wrong = nil, true
		return nil
	}
	head := f.b[:n]
	f.b = f.b[n:]
	return head
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) number() uint16 {
	if b := f.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (f *fields) data() []byte { return f.take(int(f.number())) }

// text is a string as section 1.5.3 has it: UTF-8 without U+0000.
func (f *fields) text() []byte {
	b := f.data()
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		f.wrong = true
	}
	return b
}

// id is a packet identifier, which is not 0 (section 2.3.1).
func (f *fields) id() uint16 {
	id := f.number()
	f.wrong = f.wrong || id == 0
	return id
}

// message is an application message: of a PUBLISH, or a will.
type message struct {
	topic   []byte
	payload []byte
	qos     byte
	id      uint16 // 0 of QoS 0
}

// parsePublish takes a PUBLISH apart. The message lies in body.
func parsePublish(flags byte, body []byte) (message, error) {
	f := fields{b: body}
	m := message{topic: f.text(), qos: flags >> 1 & 3}
	if m.qos > 0 {
		m.id = f.id()
	}
	m.payload = f.b
	if f.wrong || !topicName(m.topic) || m.qos == 0 && flags&8 != 0 { // 3.3.1.1: no repeat of QoS 0
		return m, malformed("a PUBLISH")
	}
	return m, nil
}

// topicName reports whether b may be the topic of a message (section 4.7.1: at least one character, no wildcards).
func topicName(b []byte) bool { return len(b) > 0 && !bytes.ContainsAny(b, "+#") }

// greeting is a CONNECT.
type greeting struct {
	level    byte
	clean    bool
	keep     time.Duration // the client's; 0 is none
	id       string
	will     *message
	user     string
	password []byte
}

// The flags of a CONNECT, section 3.1.2.3.
const (
	flagReserved = 1 << iota
	flagClean
	flagWill
	flagWillQoS // two bits
	_
	flagWillRetain
	flagPassword
	flagUser
)

// levelOf311 is what version 3.1.1 calls itself. mosquitto's bridges add 0x80 to say what they are (its read_handle.c).
const (
	levelOf311 = 4
	bridgeMark = 0x80
)

// parseConnect takes a CONNECT apart. Of another version only the level is known: what follows may have another form.
func parseConnect(body []byte) (g greeting, err error) {
	f := fields{b: body}
	name := string(f.text())
	g.level = f.byte() &^ bridgeMark
	if f.wrong || name != "MQTT" && name != "MQIsdp" {
		return g, malformed("a CONNECT")
	}
	if name != "MQTT" || g.level != levelOf311 {
		return g, nil
	}
	flags := f.byte()
	g.keep = time.Duration(f.number()) * time.Second
	g.clean = flags&flagClean != 0
	g.id = string(f.text())
	if flags&flagWill != 0 {
		g.will = &message{topic: f.text(), payload: f.data(), qos: flags >> 3 & 3}
		f.wrong = f.wrong || !topicName(g.will.topic)
	}
	if flags&flagUser != 0 {
		g.user = string(f.text())
	}
	if flags&flagPassword != 0 {
		g.password = f.data()
	}
	if f.wrong || len(f.b) > 0 || contradict(flags) {
		return g, malformed("a CONNECT")
	}
	return g, nil
}

// contradict reports whether the flags of a CONNECT rule each other out.
func contradict(flags byte) bool {
	switch {
	case flags&flagReserved != 0:
	case flags&flagWill == 0 && flags&(3*flagWillQoS|flagWillRetain) != 0:
	case flags>>3&3 == 3:
	case flags&flagPassword != 0 && flags&flagUser == 0:
	default:
		return false
	}
	return true
}

// parseSubscribe counts the filters of a SUBSCRIBE, or of an UNSUBSCRIBE, which names no QoS.
func parseSubscribe(kind byte, body []byte) (id uint16, filters int, err error) {
	f := fields{b: body}
	id = f.id()
	for ; len(f.b) > 0; filters++ {
		filter := f.text()
		if kind == subscribe && f.byte() > 2 || len(filter) == 0 {
			f.wrong = true
		}
	}
	if f.wrong || filters == 0 {
		return 0, 0, malformed("a SUBSCRIBE or UNSUBSCRIBE")
	}
	return id, filters, nil
}

// appendAnswer adds an answer that consists of a packet identifier.
func appendAnswer(b []byte, kind byte, id uint16) []byte {
	return append(b, kind<<4, 2, byte(id>>8), byte(id))
}

// appendRefusals adds the SUBACK that grants none of the filters (section 3.9.3: 0x80).
func appendRefusals(b []byte, id uint16, filters int) []byte {
	b = append(b, suback<<4)
	b = appendSize(b, 2+filters)
	b = append(b, byte(id>>8), byte(id))
	return append(b, bytes.Repeat([]byte{0x80}, filters)...)
}

// appendSize adds a remaining length (section 2.2.3).
func appendSize(b []byte, n int) []byte {
	for ; n > 127; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
