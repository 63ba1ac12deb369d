package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// intake is how readings are handed to an agent, or to anybody else who confirms them.
type intake struct {
	kind    string // http: one reading a request; batch: many; mqtt: QoS 1
	network string
	address string
	topic   string // of mqtt
}

// stream is the name under which the readings are handed over.
const stream = "press"

const (
	httpConns = 32   // at a time: the agent writes what comes side by side in one commit
	batchSize = 100  // readings in a request
	mqttAhead = 1000 // messages that wait for their acknowledgement
)

// feed hands over what the source gives until there is no more, and calls promised for what was confirmed. After an
// error some readings may have been taken, and were not confirmed.
func (i intake) feed(ctx context.Context, s *source, promised func(first, n int)) error {
	switch i.kind {
	case "http":
		return side(httpConns, func() error { return i.post(ctx, s, 1, promised) })
	case "batch":
		return side(4, func() error { return i.post(ctx, s, batchSize, promised) })
	case "mqtt":
		return i.publish(ctx, s, promised)
	}
	return fmt.Errorf("there is no intake %q: take http, batch or mqtt", i.kind)
}

// side does the same n times side by side.
func side(n int, do func() error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = do() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// post is one connection of HTTP/1.1. It writes the requests itself: the client of net/http would take processor time from
// those who are measured.
func (i intake) post(ctx context.Context, s *source, most int, promised func(first, n int)) error {
	conn, err := new(net.Dialer).DialContext(ctx, i.network, i.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	r := bufio.NewReader(conn)
	var request, body []byte
	for {
		first, n := s.take(ctx, most)
		if n == 0 {
			return ctx.Err()
		}
		body = appendBodies(body[:0], first, n, most > 1)
		request = appendRequest(request[:0], body, most > 1)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := readAnswer(r); err != nil {
			return err
		}
		promised(first, n)
	}
}

func appendBodies(b []byte, first, n int, lines bool) []byte {
	for i := range n {
		b = reading(b, first+i)
		if lines {
			b = append(b, '\n')
		}
	}
	return b
}

func appendRequest(b, body []byte, lines bool) []byte {
	kind := "application/json"
	if lines {
		kind = "application/x-ndjson"
	}
	b = append(b, "POST /v1/telemetry/"+stream+" HTTP/1.1\r\nHost: agent\r\nContent-Type: "+kind+"\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	return append(append(b, "\r\n\r\n"...), body...)
}

// readAnswer is nil where it says that the reading was accepted.
func readAnswer(r *bufio.Reader) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	length := 0
	for {
		header, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if header == "\r\n" {
			break
		}
		if name, value, _ := strings.Cut(header, ":"); strings.EqualFold(name, "Content-Length") {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	// 202 is said where the stream lets a reading be in memory for a while.
	if _, status, _ := strings.Cut(line, " "); !strings.HasPrefix(status, "200") && !strings.HasPrefix(status, "202") {
		return fmt.Errorf("%s %s", strings.TrimSpace(line), body)
	}
	return nil
}
