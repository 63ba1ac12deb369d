package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrLost means that the two sides no longer understand each other: only a new helper helps.
var ErrLost = errors.New("the helper answers out of turn")

// Write sends v as one frame, in one write.
func Write(w io.Writer, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	if len(body) > Limit {
		return fmt.Errorf("frame of %d bytes is longer than %d", len(body), Limit)
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// Read receives one frame into v. It returns io.EOF when the other side hung up between two frames.
func Read(r io.Reader, v any) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > Limit {
		return fmt.Errorf("frame of %d bytes: not between 1 and %d", n, Limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err == io.EOF {
		return io.ErrUnexpectedEOF
	} else if err != nil {
		return err
	}
	return decode(body, v)
}

// Client is the agent's end.
type Client struct {
	r    *bufio.Reader
	w    io.Writer
	last uint64
}

// Greet reads the helper's Hello and refuses another version of the language.
func Greet(rw io.ReadWriter) (*Client, error) {
	var hello Hello
	r := bufio.NewReader(rw)
	if err := Read(r, &hello); err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if hello.Version != Version {
		return nil, &VersionError{hello}
	}
	return &Client{r: r, w: rw}, nil
}

// VersionError is the greeting of a helper that speaks another version.
type VersionError struct{ Hello Hello }

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%.40q speaks version %d of the language, the agent %d", e.Hello.Program, e.Hello.Version, Version)
}

// Call asks and returns the answer; between the two it does what meanwhile says, if that is not nil. After an error
// the connection is of no use any more.
func (c *Client) Call(r Request, meanwhile func()) (Answer, error) {
	c.last++
	r.ID = c.last
	if err := Write(c.w, r); err != nil {
		return Answer{}, err
	}
	if meanwhile != nil {
		meanwhile()
	}
	var a Answer
	if err := Read(c.r, &a); err != nil {
		return Answer{}, err
	}
	if a.ID != r.ID {
		return Answer{}, fmt.Errorf("%w: %d instead of %d", ErrLost, a.ID, r.ID)
	}
	return a, nil
}

// Handler does what it is asked.
type Handler interface{ Handle(Request) Answer }

// Serve says hello and answers until the agent hangs up, which is no error.
func Serve(rw io.ReadWriter, program string, h Handler) error {
	if err := Write(rw, Hello{Version: Version, Program: program}); err != nil {
		return err
	}
	for in := bufio.NewReader(rw); ; {
		var r Request
		if err := Read(in, &r); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		a := h.Handle(r)
		a.ID = r.ID
		if err := Write(rw, a); err != nil {
			return err
		}
	}
}
