package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

// maxPacket is the largest packet that we take: twice what IoT Hub sends at most.
const maxPacket = 512 << 10

// The packet types of MQTT 3.1.1 that the rules speak of.
const (
	connack   = 2
	publish   = 3
	puback    = 4
	subscribe = 8
	suback    = 9
	unsuback  = 11
	pingresp  = 13
)

// rules are what the server may send at this point of the session.
type rules struct {
	connected   bool
	mu          sync.Mutex
	subscribing map[uint16]bool // packet identifiers of SUBSCRIBEs without answer
}

// header appends the fixed header of a packet to head; length is how many bytes follow it.
func header(in *bufio.Reader, head []byte) (_ []byte, length int, err error) {
	first, err := in.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	head = append(head, first)
	for shift := 0; shift < 28; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return nil, 0, err
		}
		head = append(head, b)
		length |= int(b&0x7f) << shift
		if length > maxPacket {
			return nil, 0, fmt.Errorf("a packet of more than %d bytes", maxPacket)
		}
		if b&0x80 == 0 {
			return head, length, nil
		}
	}
	return nil, 0, errors.New("a packet with a malformed length")
}

// sent notes a packet of ours; paho writes each in one piece.
func (r *rules) sent(packet []byte) {
	if packet[0]>>4 != subscribe || len(packet) < 4 {
		return
	}
	i := 1
	for i < len(packet)-3 && packet[i]&0x80 != 0 {
		i++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribing[binary.BigEndian.Uint16(packet[i+1:])] = true
}

// received says why the server may not send this packet now, or nil.
func (r *rules) received(first byte, body []byte) error {
	kind, flags := first>>4, first&0x0f
	if r.connected != (kind != connack) {
		return fmt.Errorf("packet type %d out of turn", kind)
	}
	if kind == publish {
		return checkPublish(flags, body)
	}
	if flags != 0 {
		return fmt.Errorf("packet type %d with flags %#x", kind, flags)
	}
	switch {
	case kind == connack && len(body) == 2 && int(body[1]) < len(codes):
		r.connected = true
		return nil
	case kind == puback && len(body) == 2:
		return r.acknowledged(binary.BigEndian.Uint16(body))
	case kind == suback && len(body) == 3:
		return r.granted(binary.BigEndian.Uint16(body))
	case kind == unsuback && len(body) == 2, kind == pingresp && len(body) == 0:
		return nil
	}
	return fmt.Errorf("packet type %d with %d bytes", kind, len(body))
}

// acknowledged and granted see to it that one kind of answer is not taken for another: paho goes by the packet
// identifier alone.
func (r *rules) acknowledged(id uint16) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subscribing[id] {
		return fmt.Errorf("PUBACK for SUBSCRIBE %d", id)
	}
	return nil
}

func (r *rules) granted(id uint16) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.subscribing[id] {
		return fmt.Errorf("SUBACK %d for no SUBSCRIBE", id)
	}
	delete(r.subscribing, id)
	return nil
}

func checkPublish(flags byte, body []byte) error {
	qos, need := flags>>1&3, 2
	if qos > 1 {
		return fmt.Errorf("PUBLISH with QoS %d", qos)
	}
	if len(body) >= 2 {
		need += int(binary.BigEndian.Uint16(body))
	}
	if qos == 1 {
		need += 2
	}
	if len(body) < need {
		return errors.New("PUBLISH shorter than its topic")
	}
	return nil
}
