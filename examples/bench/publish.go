package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
)

// publisher is one session that publishes readings of QoS 1, many ahead of their acknowledgements.
type publisher struct {
	conn  net.Conn
	topic string
	ahead chan struct{} // a place for each that is not acknowledged

	mu     sync.Mutex
	flight map[uint16]int // number by packet identifier
}

func (i intake) publish(ctx context.Context, s *source, promised func(first, n int)) error {
	conn, err := new(net.Dialer).DialContext(ctx, i.network, i.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	r := bufio.NewReaderSize(conn, 16<<10)
	if _, err := conn.Write(appendConnect(nil, "bench")); err != nil {
		return err
	}
	if p, err := readPacket(r, nil); err != nil || p.kind != packConnack || p.body[1] != 0 {
		return fmt.Errorf("connect at %s: %x: %w", i.address, p.body, err)
	}
	p := &publisher{conn: conn, topic: i.topic, ahead: make(chan struct{}, mqttAhead), flight: map[uint16]int{}}
	heard := make(chan error, 1)
	go func() { heard <- p.hear(r, promised) }()
	if err := p.send(ctx, s, heard); err != nil {
		return err
	}
	_, err = conn.Write(appendPacket(nil, packDisconnect))
	return err
}

// send returns when all that the source gave is acknowledged.
func (p *publisher) send(ctx context.Context, s *source, heard <-chan error) error {
	w := bufio.NewWriterSize(p.conn, 16<<10)
	var body, message []byte
	for id := uint16(1); ; id++ {
		first, n := s.take(ctx, 1)
		if n == 0 {
			break
		}
		if err := p.place(w, heard); err != nil {
			return err
		}
		if id == 0 {
			id = 1 // section 2.3.1
		}
		p.note(id, first)
		body = reading(body[:0], first)
		message = appendPublish(message[:0], p.topic, id, body)
		if _, err := w.Write(message); err != nil {
			return err
		}
		if s.every > 0 {
			_ = w.Flush() // the next one is not due yet
		}
	}
	for range mqttAhead { // all places are free again
		if err := p.place(w, heard); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// place takes one, and writes out what is in hand before it waits for one.
func (p *publisher) place(w *bufio.Writer, heard <-chan error) error {
	select {
	case p.ahead <- struct{}{}:
		return nil
	default:
	}
	if err := w.Flush(); err != nil {
		return err
	}
	select {
	case p.ahead <- struct{}{}:
		return nil
	case err := <-heard:
		return err
	}
}

func (p *publisher) note(id uint16, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flight[id] = n
}

// hear takes acknowledgements in until the session ends.
func (p *publisher) hear(r *bufio.Reader, promised func(first, n int)) error {
	buffer := make([]byte, 256)
	for {
		got, err := readPacket(r, buffer)
		if err != nil {
			return err
		}
		if got.kind != packPuback || len(got.body) < 2 {
			continue
		}
		id := binary.BigEndian.Uint16(got.body)
		p.mu.Lock()
		n, ours := p.flight[id]
		delete(p.flight, id)
		p.mu.Unlock()
		if ours {
			promised(n, 1)
			<-p.ahead
		}
	}
}
