package ingest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

var (
	errStopping   = errors.New("the server stops")
	errFarewell   = errors.New("DISCONNECT") // no fault: the client is done
	errBehind     = errors.New("the session has ended")
	errNoPassword = errors.New("the user name or password is wrong")
)

// session is one client's connection. One goroutine reads, another stores and acknowledges.
type session struct {
	m    *MQTT
	conn net.Conn
	in   *bufio.Reader
	peer peer
	name string        // the client's, guarded by m.mu
	gone chan struct{} // closed when all is over

	keep  time.Duration // the longest silence; 0 is for ever
	will  *item
	known map[string]route
	half  map[uint16]struct{} // of QoS 2: received, and not released yet
	queue *queue
	held  atomic.Int64 // bytes that are held for what is in the queue

	stopping atomic.Bool
	out      sync.Mutex
}

func newSession(m *MQTT, conn net.Conn) *session {
	return &session{m: m, conn: conn, in: bufio.NewReaderSize(conn, 4<<10), peer: peerOf(conn), gone: make(chan struct{}),
		known: make(map[string]route), half: make(map[uint16]struct{}), queue: newQueue()}
}

// stop ends the reading: what was read is still stored and acknowledged.
func (s *session) stop() {
	s.stopping.Store(true)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	s.queue.end()
}

// hangUp ends the connection. What was read is stored, and nobody is told.
func (s *session) hangUp() { _ = s.conn.Close() }

// serve is the whole life of a session. ctx ends the reading, hard the storing.
func (s *session) serve(ctx, hard context.Context) {
	defer s.hangUp()
	defer func() { s.m.Server.gate.hand.give(s.peer.client(), s.held.Load()) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := s.greet(ctx); err != nil {
		s.report(err)
		return
	}
	var storing sync.WaitGroup
	storing.Go(func() {
		defer stop()
		if err := s.store(hard); err != nil {
			s.report(err)
			s.queue.abandon()
			s.hangUp()
		}
	})
	err := s.read(ctx)
	if s.will != nil && !errors.Is(err, errFarewell) && !s.stopping.Load() {
		s.bequeath()
	}
	s.queue.end()
	storing.Wait()
	s.report(err)
}

// bequeath puts the will behind what the client has sent.
func (s *session) bequeath() {
	if !s.queue.put(*s.will) {
		s.m.Server.gate.lost.Add(1)
	}
}

// report logs why a session has ended, if that is more than a client that has gone.
func (s *session) report(err error) {
	if errors.Is(err, errMalformed) || errors.Is(err, errNoPassword) || fault.Of(err) != fault.Transient || full(err) || errors.Is(err, errPatience) {
		s.m.complain(s.peer, err)
		return
	}
	s.m.Log.Debug("a client has gone", "client", s.peer.String(), "err", err)
}

// greet reads the CONNECT and answers it.
func (s *session) greet(ctx context.Context) error {
	s.keep = headerTimeout
	h, err := s.header()
	if err != nil {
		return err
	}
	if h.kind != connect {
		return malformed("what comes first is no CONNECT")
	}
	if err := h.check(); err != nil {
		return err
	}
	body, err := s.body(h)
	if err != nil {
		return err
	}
	g, err := parseConnect(body)
	if err != nil {
		return err
	}
	code, err := s.meet(g)
	if code == accepted {
		if s.will != nil { // counts now: a client that vanishes again and again is held back here
			s.meter(ctx, len(s.will.reading.Body))
		}
		s.m.claim(ctx, s, s.identify(g))
		s.keep = g.keep + g.keep/2 // section 3.1.2.10
	}
	return errors.Join(err, s.write([]byte{connack << 4, 2, 0, code}))
}

// meet decides on a CONNECT.
func (s *session) meet(g greeting) (code byte, err error) {
	if g.level != levelOf311 {
		return wrongLevel, malformed(fmt.Sprintf("the client speaks level %d", g.level))
	}
	if g.id == "" && !g.clean {
		return wrongID, malformed("a session that is to last has no client identifier")
	}
	if !s.m.knows(g) {
		return wrongPassword, errNoPassword
	}
	if len(s.m.Users) > 0 {
		s.peer.name = g.user
	}
	if g.will != nil {
		if s.will, err = s.testament(*g.will); err != nil {
			return notAuthorized, err
		}
	}
	return accepted, nil
}

// identify is what other sessions know the client by; "" for one that has no name.
func (s *session) identify(g greeting) string {
	if g.id == "" {
		return ""
	}
	return s.peer.client() + "/" + g.id
}

// testament is the will as an item that nobody waits for; nil for a topic that is let go.
func (s *session) testament(w message) (*item, error) {
	to, err := s.route(w.topic)
	if err != nil || to.stream == "" {
		return nil, err
	}
	return &item{reading: reading(to, w.payload), qos: 1}, nil
}

// read takes packets until the client has gone, or has to go.
func (s *session) read(ctx context.Context) error {
	for {
		h, err := s.header()
		if err != nil {
			return err
		}
		if err := h.check(); err != nil {
			return err
		}
		if err := s.packet(ctx, h); err != nil {
			return err
		}
	}
}

func (s *session) packet(ctx context.Context, h header) error {
	if h.kind == publish {
		return s.publish(ctx, h)
	}
	body, err := s.body(h)
	if err != nil {
		return err
	}
	switch h.kind {
	case pubrel:
		return s.released(body)
	case subscribe, unsubscribe:
		id, filters, err := parseSubscribe(h.kind, body)
		if err != nil {
			return err
		}
		if h.kind == unsubscribe {
			return s.write(appendAnswer(nil, unsuback, id))
		}
		return s.write(appendRefusals(nil, id, filters))
	case pingreq:
		return s.write([]byte{pingresp << 4, 0})
	case disconnect:
		return errFarewell
	}
	return malformed("a second CONNECT")
}

// released ends the handshake of a message of QoS 2.
func (s *session) released(body []byte) error {
	f := fields{b: body}
	id := f.id()
	if f.wrong || len(f.b) > 0 {
		return malformed("a PUBREL")
	}
	delete(s.half, id)
	return s.write(appendAnswer(nil, pubcomp, id))
}
