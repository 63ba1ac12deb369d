package wire

import (
	"io"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// eagerness is how long a reader looks for bytes before it sleeps. A fast token signs in less, and waking a processor
// that sleeps, twice for each signature, takes longer than that.
const eagerness = 100 * time.Microsecond

const (
	// miss is how soon after a look in vain bytes come that waited for our processor.
	miss = time.Millisecond
	// discouraged is how many misses, one after the other, make a reader lazier still.
	discouraged = 6
)

// Eager is s, save that a Read stays awake for 100 µs before it sleeps, where another processor is left for the other
// side. On a machine so busy that there is none, the next 1, 3, 7 ... 63 Reads sleep at once.
func Eager(s Stream) io.ReadWriter {
	raw, err := s.SyscallConn()
	if err != nil || runtime.NumCPU() == 1 {
		return s
	}
	return &eager{Stream: s, raw: raw}
}

// Stream is a socket as package net or os has it.
type Stream interface {
	io.ReadWriter
	syscall.Conn
}

type eager struct {
	Stream
	raw    syscall.RawConn
	misses int // in a row
	lazy   int // Reads that are to sleep at once
}

// Read implements io.Reader, with the deadline that the stream has.
func (e *eager) Read(b []byte) (int, error) {
	if e.lazy > 0 {
		e.lazy--
		return e.Stream.Read(b)
	}
	found := false
	err := e.raw.Control(func(fd uintptr) { found = readable(int32(fd)) })
	if found || err != nil { // what the error is, the stream says
		e.misses = 0
		return e.Stream.Read(b)
	}
	start := time.Now()
	n, err := e.Stream.Read(b)
	if time.Since(start) < miss {
		e.misses = min(e.misses+1, discouraged)
		e.lazy = 1<<e.misses - 1
	}
	return n, err
}

// readable reports whether there is something to read soon, be it the end.
func readable(fd int32) bool {
	look := []unix.PollFd{{Fd: fd, Events: unix.POLLIN}}
	for end := time.Now().Add(eagerness); time.Now().Before(end); {
		if n, err := unix.Poll(look, 0); n > 0 || err != nil && err != unix.EINTR {
			return true
		}
	}
	return false
}
