package mqtt

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// The opcodes of frames (RFC 6455, 5.2).
const (
	continued = 0
	binaries  = 2
	closing   = 8
	ping      = 9
	pong      = 10
)

const (
	final, masked = 0x80, 0x80 // bits of a frame's first byte, and of its second
	maxControl    = 125        // bytes in a control frame
)

var errNotBinary = errors.New("the server breaks the protocol: a frame that is not binary")

// frames is a WebSocket as a stream of bytes (RFC 6455, 5), on the client's side. The borders of frames mean nothing to
// MQTT (MQTT 3.1.1, 6). Its Read and Write may go on side by side.
type frames struct {
	net.Conn
	in       *bufio.Reader
	left     uint64 // bytes of the frame being read
	unending bool   // the message goes on in the next frame

	mu  sync.Mutex // guards writing
	out []byte
}

func (f *frames) Read(p []byte) (int, error) {
	for f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.in.Read(p[:min(uint64(len(p)), f.left)])
	f.left -= uint64(n)
	return n, err
}

// next reads the head of a frame, and all of it where it is for the WebSocket itself.
func (f *frames) next() error {
	var head [2]byte
	if _, err := io.ReadFull(f.in, head[:]); err != nil {
		return err
	}
	length, err := f.length(head[1])
	if err != nil {
		return err
	}
	opcode := head[0] &^ final
	switch {
	case opcode > 0x0f || head[1]&masked != 0:
		return errors.New("the server breaks the protocol: a frame with bits that mean nothing here")
	case opcode >= closing:
		return f.control(opcode, head[0]&final != 0, length)
	case f.unending != (opcode == continued) || opcode != continued && opcode != binaries:
		return errNotBinary
	}
	f.left, f.unending = length, head[0]&final == 0
	return nil
}

// length is how long the frame is whose second byte this is.
func (f *frames) length(second byte) (uint64, error) {
	size := 0
	switch second &^ masked {
	case 126:
		size = 2
	case 127:
		size = 8
	default:
		return uint64(second &^ masked), nil
	}
	var long [8]byte
	_, err := io.ReadFull(f.in, long[8-size:])
	return binary.BigEndian.Uint64(long[:]), err
}

func (f *frames) control(opcode byte, whole bool, length uint64) error {
	if !whole || length > maxControl {
		return errors.New("the server breaks the protocol: a control frame in parts, or too long")
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(f.in, data); err != nil {
		return err
	}
	switch {
	case opcode == ping:
		return f.send(pong, data)
	case opcode == closing && length >= 2:
		_ = f.send(closing, data[:2])
		return fmt.Errorf("the server closes the WebSocket: %d %q", binary.BigEndian.Uint16(data), data[2:])
	case opcode == closing:
		return errors.New("the server closes the WebSocket")
	}
	return nil
}

// Write sends each packet as a message of its own, as all of Microsoft's SDKs do: what comes together may be more than
// the server takes in one.
func (f *frames) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.out[:0]
	for rest := p; len(rest) > 0; {
		n := leading(rest)
		out, rest = appendFrame(out, binaries, rest[:n]), rest[n:]
	}
	if f.out = out; cap(out) > 2*plenty {
		f.out = nil // a burst is over: give the memory back
	}
	if _, err := f.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *frames) send(opcode byte, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.Conn.Write(appendFrame(nil, opcode, data))
	return err
}

// appendFrame appends a whole message. What a client sends is masked, so that no proxy on the way takes it for
// something else (RFC 6455, 10.3).
func appendFrame(out []byte, opcode byte, data []byte) []byte {
	out = append(out, final|opcode)
	switch n := len(data); {
	case n <= maxControl:
		out = append(out, masked|byte(n))
	case n <= 0xffff:
		out = binary.BigEndian.AppendUint16(append(out, masked|126), uint16(n))
	default:
		out = binary.BigEndian.AppendUint64(append(out, masked|127), uint64(n))
	}
	var key [4]byte
	_, _ = rand.Read(key[:]) // never fails
	out = append(out, key[:]...)
	for i, b := range data {
		out = append(out, b^key[i%4])
	}
	return out
}

// leading is the length of the first packet in p, and all of p where that is not whole.
func leading(p []byte) int {
	length := 0
	for i := 1; i < len(p) && i <= 4; i++ {
		length |= int(p[i]&0x7f) << (7 * (i - 1))
		if p[i] < 0x80 {
			return min(i+1+length, len(p))
		}
	}
	return len(p)
}
