package est

import "errors"

// tlv is one element of BER.
type tlv struct {
	tag     byte
	content []byte // without the end-of-contents octets of an indefinite length
	whole   []byte
	size    int // of whole
}

// element reads the first element of b; depth bounds how deep one of indefinite length may be nested, since its end
// is only found by reading what is in it.
func element(b []byte, depth int) (tlv, error) {
	if depth == 0 {
		return tlv{}, errDeep
	}
	if len(b) < 2 {
		return tlv{}, errShort
	}
	if b[0]&0x1f == 0x1f {
		return tlv{}, errors.New("a tag of more than one byte")
	}
	if b[1] == 0x80 {
		return indefinite(b, depth)
	}
	length, head, err := definite(b)
	if err != nil {
		return tlv{}, err
	}
	if length > len(b)-head {
		return tlv{}, errShort
	}
	return tlv{b[0], b[head : head+length], b[:head+length], head + length}, nil
}

// definite reads a length of at most four bytes.
func definite(b []byte) (length, head int, err error) {
	if b[1] < 0x80 {
		return int(b[1]), 2, nil
	}
	n := int(b[1] & 0x7f)
	if n > 4 {
		return 0, 0, errors.New("a length of more than four bytes")
	}
	if len(b) < 2+n {
		return 0, 0, errShort
	}
	var all uint64
	for _, digit := range b[2 : 2+n] {
		all = all<<8 | uint64(digit)
	}
	if all > maxAnswer {
		return 0, 0, errShort
	}
	return int(all), 2 + n, nil
}

func indefinite(b []byte, depth int) (tlv, error) {
	if b[0]&0x20 == 0 {
		return tlv{}, errors.New("a primitive element of indefinite length")
	}
	at := 2
	for {
		if len(b)-at < 2 {
			return tlv{}, errShort
		}
		if b[at] == 0 && b[at+1] == 0 {
			return tlv{b[0], b[2:at], b[:at+2], at + 2}, nil
		}
		inner, err := element(b[at:], depth-1)
		if err != nil {
			return tlv{}, err
		}
		at += inner.size
	}
}
