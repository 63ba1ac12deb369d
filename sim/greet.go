package sim

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// greet reads CONNECT and lets the service judge it.
func (l *link) greet(in io.Reader) (*connect, handler, error) {
	first, err := readPacket(in, l.service.limit)
	if err != nil {
		return nil, nil, fmt.Errorf("read CONNECT: %w", err)
	}
	c, ok := first.(*connect)
	if !ok {
		return nil, nil, fmt.Errorf("first packet is a %T, not a CONNECT", first)
	}
	l.name = c.clientID
	h, err := l.judge(c)
	return c, h, err
}

// The CONNACK codes. Azure's codes other than 5 are not documented; these follow MQTT 3.1.1, table 3.1.
func (l *link) judge(c *connect) (handler, error) {
	if !c.known {
		return nil, &Refusal{Code: 1, Message: "not MQTT 3.1.1"}
	}
	if c.clientID == "" {
		return nil, &Refusal{Code: 2, Message: "empty client ID"}
	}
	return l.service.accept(l, c)
}

// deny answers a connect that is refused in so many words, and lets one wait to which nothing is said. Any other
// one just ends.
func (l *link) deny(err error) {
	if errors.Is(err, ErrSilent) {
		io.Copy(io.Discard, l.raw)
	}
	no, ok := errors.AsType[*Refusal](err)
	if !ok {
		return
	}
	l.sleepUntil(time.Now().Add(l.cloud.weather().Latency))
	if _, err := l.stream.Write(connack(false, byte(no.Code))); err != nil {
		return
	}
	if half, ok := l.stream.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	l.linger()
}

// linger waits until the device has hung up: a socket closed with bytes unread resets the connection, and the
// device would never see the last thing said.
func (l *link) linger() {
	if half, ok := l.raw.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	l.raw.SetReadDeadline(time.Now().Add(farewell))
	io.Copy(io.Discard, l.raw)
}
