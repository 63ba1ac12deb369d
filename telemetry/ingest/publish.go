package ingest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

const (
	maxTopic = 1 << 10
	maxKnown = 256  // topics whose stream a session remembers
	maxHalf  = 1024 // messages of QoS 2 between PUBREC and PUBREL
)

// route is where the messages of a topic go; "" is nowhere.
type route struct{ stream, kind string }

// publish takes a message, waits until there is room for it, and puts it into the queue.
func (s *session) publish(ctx context.Context, h header) error {
	if h.size > spool.MaxBody+maxTopic+4 {
		return s.tooLarge(h.size)
	}
	size := int64(h.size)
	if err := s.m.Server.gate.hand.take(ctx, s.peer.client(), size); err != nil {
		return errBehind
	}
	s.held.Add(size)
	body, err := s.body(h)
	if err != nil {
		return err
	}
	m, err := parsePublish(h.flags, body)
	if err != nil {
		return err
	}
	i, err := s.item(m)
	if err != nil {
		return err
	}
	i.size = size
	if !i.settled {
		s.meter(ctx, len(m.payload))
	}
	if !s.queue.put(i) {
		return errBehind
	}
	return nil
}

// meter waits until the client's quota allows a reading: it is not read from meanwhile.
func (s *session) meter(ctx context.Context, size int) {
	q, client := &s.m.Server.gate.quotas, s.peer.client()
	for wait := q.wait(client); wait > 0 && ctx.Err() == nil; wait = q.wait(client) {
		pause(ctx, wait)
	}
	q.charge(client, 1, size)
}

// item is what is to be done about a message.
func (s *session) item(m message) (item, error) {
	i := item{qos: m.qos, id: m.id}
	if _, again := s.half[m.id]; again && m.qos == 2 {
		i.settled = true // section 4.3.3: acknowledged again, and not taken again
		return i, nil
	}
	to, err := s.route(m.topic)
	if err != nil {
		return i, err
	}
	if len(m.payload) > int(or(s.m.Server.MaxBody, spool.MaxBody)) {
		return i, s.tooLarge(len(m.payload))
	}
	if m.qos == 2 {
		if len(s.half) == maxHalf {
			return i, malformed("more than 1024 messages of QoS 2 without a PUBREL")
		}
		s.half[m.id] = struct{}{}
	}
	if i.settled = to.stream == ""; i.settled {
		s.m.Server.gate.ignored.Add(1)
		return i, nil
	}
	i.reading = reading(to, m.payload)
	return i, nil
}

func (s *session) tooLarge(size int) error {
	return fault.As(fault.Permanent, fmt.Errorf("a PUBLISH of %d bytes: %w", size, spool.ErrTooLarge))
}

// reading is a payload as a reading of its stream. It is only called JSON or CBOR where it is: on its way to the hub it
// may become a part of a larger one.
func reading(to route, payload []byte) spool.Reading {
	r := spool.Reading{Stream: to.stream, Type: to.kind, Body: payload}
	switch r.Type {
	case "", typeJSON:
		r.Type = ""
		if !json.Valid(payload) {
			r.Type = typeRaw
		}
	case typeCBOR:
		if n, err := cborItem(payload); err != nil || n < len(payload) {
			r.Type = typeRaw
		}
	}
	return r
}

// route is where messages of topic go. A client that may not send them is cut off: MQTT 3.1.1 has no other way to tell
// it (section 3.3.5), and to acknowledge what is thrown away would be a lie.
func (s *session) route(topic []byte) (route, error) {
	if r, ok := s.known[string(topic)]; ok {
		return r, nil
	}
	stream, kind, ok := streamOf(s.m.rules(), string(topic))
	if !ok || len(topic) > maxTopic {
		return route{}, fault.AskOperator(fmt.Errorf("topic %.80q gives no name of a stream", topic), "map it under telemetry.ingest.mqtt.topics")
	}
	if stream != "" && !allowed(s.m.Server.gate.grants, s.peer, stream) {
		return route{}, fault.AskOperator(fmt.Errorf("%v may not write the stream %s", s.peer, stream), "name it under telemetry.ingest.permissions")
	}
	r := route{stream, kind}
	if len(s.known) < maxKnown {
		s.known[string(topic)] = r
	}
	return r, nil
}
