package dps

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/devid-agent/devid-agent/internal/mqtt"
)

var errSilent = errors.New("the service does not answer")

// overMQTT is a session in MQTT, bare or in a WebSocket.
type overMQTT struct {
	conn    *mqtt.Conn
	answers chan answer
}

func (r *registration) overMQTT(ctx context.Context) (session, error) {
	token, err := r.proof.token(ctx)
	if err != nil {
		return nil, err
	}
	s := &overMQTT{answers: make(chan answer, 8)}
	if s.conn, err = mqtt.Dial(ctx, r.options(token, s.receive)); err != nil {
		return nil, r.turnedAway(err)
	}
	if err := s.conn.Subscribe(ctx, answerFilter); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

func (r *registration) options(token string, receive func(string, []byte, func())) mqtt.Options {
	c := r.client.config
	return mqtt.Options{
		Host:        c.Endpoint,
		Address:     c.Connect,
		WebSocket:   c.Transport == WebSocket,
		ClientID:    r.id,
		Username:    r.client.username(r.id),
		Password:    token,
		Certificate: r.proof.certificate(),
		Roots:       c.Roots.Pool(),
		Dial:        c.Dial,
		Receive:     receive,
	}
}

// username has no '?' before api-version; that of the hub has one.
func (c *Client) username(id string) string {
	name := c.config.IDScope + "/registrations/" + id + "/api-version=" + c.config.APIVersion
	if c.config.UserAgent != "" {
		name += "&ClientVersion=" + strings.ReplaceAll(url.QueryEscape(c.config.UserAgent), "+", "%20")
	}
	return name
}

func (s *overMQTT) receive(topic string, body []byte, ack func()) {
	ack()
	if a, ok := parseAnswer(topic, body); ok {
		select {
		case s.answers <- a:
		default: // nobody asked for so many
		}
	}
}

func (s *overMQTT) ask(ctx context.Context, operation string, body []byte) (answer, error) {
	rid := requestID()
	topic := "$dps/registrations/PUT/iotdps-register/?$rid=" + rid
	if operation != "" {
		topic, body = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid="+rid+"&operationId="+operation, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errSilent)
	defer cancel()
	s.conn.Publish(topic, body)
	for {
		select {
		case a := <-s.answers:
			if a.rid == rid {
				return a, nil
			}
		case <-s.conn.Done():
			return answer{}, s.conn.Err()
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
}

func (s *overMQTT) close() { s.conn.Close() }
