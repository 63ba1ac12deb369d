package sim

import "encoding/binary"

func packet(first byte, body []byte) []byte {
	b := []byte{first}
	for n := len(body); ; {
		digit := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			b = append(b, digit)
			break
		}
		b = append(b, digit|0x80)
	}
	return append(b, body...)
}

func connack(present bool, code byte) []byte {
	flag := byte(0)
	if present && code == 0 {
		flag = 1
	}
	return packet(typeConnack<<4, []byte{flag, code})
}

// answer is a packet that holds an identifier and perhaps return codes: PUBACK, SUBACK, UNSUBACK.
func answer(kind byte, id uint16, codes ...byte) []byte {
	return packet(kind<<4, append(binary.BigEndian.AppendUint16(nil, id), codes...))
}

func pingresp() []byte { return packet(typePingresp<<4, nil) }

func (p *publish) encode() []byte {
	first := byte(typePublish<<4) | p.qos<<1
	if p.dup {
		first |= 8
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(len(p.topic)))
	body = append(body, p.topic...)
	if p.qos > 0 {
		body = binary.BigEndian.AppendUint16(body, p.id)
	}
	return packet(first, append(body, p.payload...))
}
