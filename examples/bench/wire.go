package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Packets of MQTT 3.1.1, section 2.2.1. The benchmark has its own few lines of it: whoever counts shares no code with
// those who are counted.
const (
	packConnect    = 0x10
	packConnack    = 0x20
	packPublish    = 0x30
	packPuback     = 0x40
	packSubscribe  = 0x82
	packSuback     = 0x90
	packPing       = 0xc0
	packPong       = 0xd0
	packDisconnect = 0xe0
)

// maxPacket is more than any packet here: a hub takes 256 KB.
const maxPacket = 1 << 20

// appendPacket is a packet with its header, section 2.2.3.
func appendPacket(b []byte, kind byte, body ...[]byte) []byte {
	size := 0
	for _, part := range body {
		size += len(part)
	}
	b = append(b, kind)
	for size >= 128 {
		b = append(b, byte(size)|128)
		size >>= 7
	}
	b = append(b, byte(size))
	for _, part := range body {
		b = append(b, part...)
	}
	return b
}

func mqttString(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// appendConnect asks for a clean session that is kept alive by nothing but its messages.
func appendConnect(b []byte, client string) []byte {
	return appendPacket(b, packConnect, mqttString("MQTT"), []byte{4, 2, 0, 0}, mqttString(client))
}

func appendSubscribe(b []byte, filter string) []byte {
	return appendPacket(b, packSubscribe, []byte{0, 1}, mqttString(filter), []byte{0})
}

// appendPublish is a message of QoS 1.
func appendPublish(b []byte, topic string, id uint16, payload []byte) []byte {
	return appendPacket(b, packPublish|2, mqttString(topic), binary.BigEndian.AppendUint16(nil, id), payload)
}

// packet is what came; its body is good until the next is read.
type packet struct {
	kind byte // with flags
	body []byte
}

// readPacket reads one packet into the buffer that it is given, where that is large enough.
func readPacket(r *bufio.Reader, buffer []byte) (packet, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return packet{}, err
	}
	size, shift := 0, 0
	for {
		b, err := r.ReadByte()
		if err != nil {
			return packet{}, err
		}
		size |= int(b&127) << shift
		if b < 128 {
			break
		}
		if shift += 7; shift > 21 {
			return packet{}, errors.New("a remaining length of more than four bytes")
		}
	}
	if size > maxPacket {
		return packet{}, fmt.Errorf("a packet of %d bytes", size)
	}
	if size > cap(buffer) {
		buffer = make([]byte, size)
	}
	_, err = io.ReadFull(r, buffer[:size])
	return packet{kind, buffer[:size]}, err
}

// payload is what a PUBLISH carries, and under which topic.
func (p packet) payload() (topic, payload []byte, err error) {
	if p.kind&0xf0 != packPublish || len(p.body) < 2 {
		return nil, nil, errors.New("no message")
	}
	size := 2 + int(binary.BigEndian.Uint16(p.body))
	head := size
	if p.kind&6 != 0 {
		head += 2
	}
	if len(p.body) < head {
		return nil, nil, errors.New("a message that ends in its header")
	}
	return p.body[2:size], p.body[head:], nil
}
