package ingest

import "errors"

// maxNesting is how deep the items of one reading may lie in each other. RFC 8949, section 10, asks a decoder to have
// such a bound.
const maxNesting = 32

var (
	errCBORShort   = errors.New("it ends in the middle of an item")
	errCBORDeep    = errors.New("its items lie deeper in each other than 32 levels")
	errCBORForm    = errors.New("a byte stands where no item can begin")
	errCBORChunk   = errors.New("a string in pieces has a piece of another kind")
	errCBORUnended = errors.New("a map ends behind a key")
)

// The major types of RFC 8949, section 3.1.
const (
	cborBytes  = 2
	cborText   = 3
	cborArray  = 4
	cborMap    = 5
	cborTag    = 6
	cborSimple = 7

	cborOpen  = 31 // the additional information that says: of indefinite length, or "break"
	cborBreak = 0xff
)

// cborItem is the length of the well-formed item (RFC 8949, appendix C) that b begins with. With an error it is how
// far b is one.
func cborItem(b []byte) (n int, err error) {
	rest, err := skipItem(b, 0)
	return len(b) - len(rest), err
}

// skipItem is what follows the first item of b; with an error, what is left from where it is wrong.
func skipItem(b []byte, depth int) ([]byte, error) {
	if depth > maxNesting {
		return b, errCBORDeep
	}
	if len(b) == 0 {
		return b, errCBORShort
	}
	major, info := b[0]>>5, b[0]&31
	if info == cborOpen {
		return skipOpen(b, major, depth)
	}
	arg, rest, err := argument(b)
	if err != nil {
		return b, err
	}
	switch major {
	case cborBytes, cborText:
		if arg > uint64(len(rest)) {
			return b, errCBORShort
		}
		return rest[arg:], nil
	case cborArray, cborMap:
		return skipItems(rest, arg, major == cborMap, depth+1)
	case cborTag:
		return skipItem(rest, depth+1)
	case cborSimple:
		if info == 24 && arg < 32 { // section 3.3: those have a form of one byte
			return b, errCBORForm
		}
	}
	return rest, nil
}

// argument is the number in the head of an item (RFC 8949, section 3), and what follows it.
func argument(b []byte) (arg uint64, rest []byte, err error) {
	info := b[0] & 31
	b = b[1:]
	if info < 24 {
		return uint64(info), b, nil
	}
	if info > 27 {
		return 0, b, errCBORForm
	}
	n := 1 << (info - 24)
	if len(b) < n {
		return 0, b, errCBORShort
	}
	for _, c := range b[:n] {
		arg = arg<<8 | uint64(c)
	}
	return arg, b[n:], nil
}

// skipItems skips n items, or n pairs. A lie about n ends with the bytes: each item has at least one.
func skipItems(b []byte, n uint64, pairs bool, depth int) (_ []byte, err error) {
	for ; n > 0; n-- {
		if b, err = skipItem(b, depth); err != nil {
			return b, err
		}
		if !pairs {
			continue
		}
		if b, err = skipItem(b, depth); err != nil {
			return b, err
		}
	}
	return b, nil
}

// skipOpen skips an item of indefinite length, up to and with its "break".
func skipOpen(b []byte, major byte, depth int) (rest []byte, err error) {
	if major < cborBytes || major > cborMap {
		return b, errCBORForm
	}
	rest = b[1:]
	for n := 0; ; n++ {
		if len(rest) == 0 {
			return rest, errCBORShort
		}
		if rest[0] == cborBreak {
			if major == cborMap && n%2 != 0 {
				return rest, errCBORUnended
			}
			return rest[1:], nil
		}
		if major <= cborText && (rest[0]>>5 != major || rest[0]&31 == cborOpen) {
			return rest, errCBORChunk
		}
		if rest, err = skipItem(rest, depth+1); err != nil {
			return rest, err
		}
	}
}
