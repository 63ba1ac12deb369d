package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// What a direct method may be ("Understand and invoke direct methods from IoT Hub"). The page has had different longest
// waits over the years; this is the shorter one.
const (
	maxMethodBody = 128 << 10
	methodWait    = 30 * time.Second
	maxMethodWait = 5 * time.Minute
)

// Invoked is the event of a direct method; Detail has its name and how it ended.
const Invoked Kind = "invoked"

// Answer is what a device says to a direct method.
type Answer struct {
	Status  int
	Payload json.RawMessage
}

// call is a direct method that waits for its answer.
type call struct {
	answer chan Answer
}

// Invoke calls a direct method and returns the device's answer. It gives up after wait, which is 30 s where it is 0: then,
// or where the device is not connected or not subscribed, the error is a *Refusal with the hub's code.
func (c *Cloud) Invoke(ctx context.Context, device, method string, payload []byte, wait time.Duration) (Answer, error) {
	if wait == 0 {
		wait = methodWait
	}
	if err := checkMethod(method, payload, wait); err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, &Refusal{Code: 504101, Message: "timed out waiting for the device's answer"})
	defer cancel()
	a, err := c.invoke(ctx, device, method, payload)
	how := fmt.Sprintf("%s: status %d", method, a.Status)
	if err != nil {
		how = fmt.Sprintf("%s: %v", method, err)
	}
	c.log("hub", Invoked, device, how)
	return a, err
}

func checkMethod(method string, payload []byte, wait time.Duration) error {
	switch {
	case method == "" || strings.ContainsAny(method, "/+#?") || !ascii(method):
		return &Refusal{Code: 400004, Message: fmt.Sprintf("the method name %q", method)}
	case len(payload) > maxMethodBody:
		return &Refusal{Code: 413001, Message: "payload of more than 128 KB"}
	case len(payload) > 0 && !json.Valid(payload):
		return &Refusal{Code: 400004, Message: "the payload is not JSON"}
	case wait < 0 || wait > maxMethodWait:
		return &Refusal{Code: 400004, Message: fmt.Sprintf("the wait of %v", wait)}
	}
	return nil
}

func (c *Cloud) invoke(ctx context.Context, device, method string, payload []byte) (Answer, error) {
	rid := randomHex(8)
	asked, session, err := c.ring(device, method, rid, payload)
	if err != nil {
		return Answer{}, err
	}
	defer c.hangUp(device, rid)
	select {
	case a := <-asked.answer:
		return a, nil
	case <-session.link.gone:
		return Answer{}, &Refusal{Code: 404103, Message: "the device went offline"}
	case <-ctx.Done():
		return Answer{}, context.Cause(ctx)
	}
}

// ring sends the call, with QoS 0 as the hub does.
func (c *Cloud) ring(device, method, rid string, payload []byte) (*call, *hubSession, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.devices[device]
	if d == nil {
		return nil, nil, unknownDevice(device)
	}
	p := &publish{topic: "$iothub/methods/POST/" + method + "/?$rid=" + rid, payload: payload}
	if _, ok := d.listens(p.topic); !ok || d.session == nil {
		return nil, nil, &Refusal{Code: 404103, Message: fmt.Sprintf("device %s is not online, or has not subscribed", device)}
	}
	asked := &call{answer: make(chan Answer, 1)}
	if d.calls == nil {
		d.calls = map[string]*call{}
	}
	d.calls[rid] = asked
	d.session.link.out.send(p.encode())
	return asked, d.session, nil
}

func (c *Cloud) hangUp(device, rid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.devices[device]; d != nil {
		delete(d.calls, rid)
	}
}

// answerMethod takes the answer to a direct method: $iothub/methods/res/{status}/?$rid={rid}, where the status is a whole
// number. An answer that nobody waits for is passed over.
func (s *hubSession) answerMethod(path, rid string, body []byte) error {
	text := strings.TrimPrefix(path, "$iothub/methods/res/")
	status, err := strconv.Atoi(text)
	if err != nil {
		return badTopic(path)
	}
	if len(body) == 0 {
		body = []byte("null")
	}
	if len(body) > maxMethodBody || !json.Valid(body) {
		return fmt.Errorf("the answer to a direct method is not JSON of at most 128 KB")
	}
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	if asked := s.device.calls[rid]; asked != nil {
		delete(s.device.calls, rid)
		asked.answer <- Answer{status, body}
	}
	return nil
}
