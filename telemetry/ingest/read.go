package ingest

import (
	"fmt"
	"io"
	"time"
)

const maxControl = 16 << 10 // bytes of a packet that carries no reading

// header waits for a packet, as long as the client's keep alive allows.
func (s *session) header() (h header, err error) {
	if s.in.Buffered() == 0 {
		if err := s.patience(s.keep); err != nil {
			return h, err
		}
	}
	b, err := s.in.ReadByte()
	if err != nil {
		return h, fmt.Errorf("wait for a packet: %w", err)
	}
	h.kind, h.flags = b>>4, b&15
	for shift := 0; ; shift += 7 {
		if s.in.Buffered() == 0 {
			if err := s.patience(readTimeout); err != nil {
				return h, err
			}
		}
		b, err := s.in.ReadByte()
		if err != nil {
			return h, fmt.Errorf("read a packet: %w", err)
		}
		h.size |= int(b&0x7f) << shift
		if b < 0x80 {
			return h, nil
		}
		if shift == 21 {
			return h, malformed("a remaining length of five bytes")
		}
	}
}

// body reads the rest of a packet.
func (s *session) body(h header) ([]byte, error) {
	if h.kind != publish && h.size > maxControl {
		return nil, malformed(fmt.Sprintf("a packet of type %d with %d bytes", h.kind, h.size))
	}
	if h.size == 0 {
		return nil, nil
	}
	if s.in.Buffered() < h.size {
		if err := s.patience(readTimeout); err != nil {
			return nil, err
		}
	}
	b := make([]byte, h.size)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, fmt.Errorf("read a packet: %w", err)
	}
	return b, nil
}

// patience bounds the next wait for the client; 0 is no bound.
func (s *session) patience(d time.Duration) error {
	var end time.Time
	if d > 0 {
		end = time.Now().Add(d)
	}
	err := s.conn.SetReadDeadline(end)
	if s.stopping.Load() { // looked at after the deadline is set, which stop sets after this
		return errStopping
	}
	return err
}

// write sends to the client, who has to take it.
func (s *session) write(b []byte) error {
	s.out.Lock()
	defer s.out.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(readTimeout))
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
