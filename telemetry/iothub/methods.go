package iothub

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// The topics of direct methods ("Communicate with an IoT hub using the MQTT protocol").
const (
	methodPrefix = "$iothub/methods/POST/"
	methodFilter = "$iothub/methods/POST/#"
	methodAnswer = "$iothub/methods/res/"
)

const (
	// maxMethod is the size of a payload, each way ("Understand and invoke direct methods from IoT Hub").
	maxMethod = 128 << 10
	// maxCalls are at work side by side. Further ones are told so, up to as many; what comes then gets no answer.
	maxCalls  = 8
	maxDenied = 64
	// maxRID is far more than a request ID has, and leaves room for it in the topic of the answer.
	maxRID = 1 << 10
)

// call is a direct method that waits for its answer.
type call struct {
	name string
	rid  string // as it came, byte for byte
}

// parseCall reads $iothub/methods/POST/{name}/?$rid={rid}. A request ID that cannot stand in the topic of an answer
// (MQTT 3.1.1, 3.3.2.1) is none: the hub would hang up.
func parseCall(topic string) (call, bool) {
	rest, ok := strings.CutPrefix(topic, methodPrefix)
	if !ok {
		return call{}, false
	}
	name, query, ok := strings.Cut(rest, "/")
	rid, named := parameter(query, "$rid")
	if !ok || name == "" || rid == "" || !named || len(rid) > maxRID || strings.ContainsAny(rid, "+#\x00") {
		return call{}, false
	}
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	return call{name, rid}, true
}

// parameter returns what stands behind name= in the part of a topic behind "/", as it came. The names may be encoded:
// "$rid" and "%24rid" are the same, and a '?' before them is optional.
func parameter(query, name string) (value string, ok bool) {
	for pair := range strings.SplitSeq(strings.TrimPrefix(query, "?"), "&") {
		k, v, _ := strings.Cut(pair, "=")
		if plain, err := url.PathUnescape(k); err == nil && plain == name {
			return v, true
		}
	}
	return "", false
}

// method takes a direct method.
func (c *Conn) method(topic string, payload []byte) bool {
	if !strings.HasPrefix(topic, methodPrefix) {
		return false
	}
	if m, ok := parseCall(topic); ok && c.config.Handlers.Method != nil {
		c.down.when(func() { c.call(m, payload) })
	}
	return true
}

// call gets a method its answer. One that comes twice is done once; when it has been answered, the same request ID is a new
// call. The caller holds c.down.mu.
func (c *Conn) call(m call, payload []byte) {
	d := c.down
	calls, work := d.calls, func() (int, []byte) {
		return c.config.Handlers.Method(session{c.session}, m.name, payload)
	}
	switch {
	case d.calls[m] || d.denied[m]:
		return
	case len(d.calls) < maxCalls:
	case len(d.denied) < maxDenied:
		calls, work = d.denied, busyWithOthers
	default:
		return
	}
	calls[m] = true
	go func() {
		status, body := work()
		c.answerCall(m, status, body)
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(calls, m)
	}()
}

func busyWithOthers() (int, []byte) {
	return http.StatusTooManyRequests, []byte(`{"error":"busy with other methods, call again later"}`)
}

// answerCall publishes the answer, which must be JSON: the hub ends the session of a device that says something else.
func (c *Conn) answerCall(m call, status int, body []byte) {
	if len(body) > maxMethod || len(body) > 0 && !json.Valid(body) {
		status, body = http.StatusInternalServerError, []byte(`{"error":"the answer is not JSON of at most 128 KB"}`)
	}
	c.session.Publish(methodAnswer+strconv.Itoa(status)+"/?$rid="+m.rid, body)
}
