package iothub

import (
	"net/url"
	"strings"
)

// maxHeld is how many messages a hub has for a device ("Send cloud-to-device messages from an IoT hub").
const maxHeld = 50

// The topics of messages to a device, and of inputs of a module, behind its address. The documentation has modules
// subscribe to all that is theirs; Microsoft's SDK for Python does it as here.
const (
	deviceMessages = "/messages/devicebound/"
	moduleMessages = "/inputs/"
)

func (c *Conn) messagePrefix() string {
	if strings.Contains(c.address, "/modules/") {
		return c.address + moduleMessages
	}
	return c.address + deviceMessages
}

func (c *Conn) messageFilter() string { return c.messagePrefix() + "#" }

// message takes a cloud-to-device message. It is acknowledged once the handler has said so; until then the hub has it.
func (c *Conn) message(topic string, body []byte, ack func()) bool {
	rest, ok := strings.CutPrefix(topic, c.messagePrefix())
	if !ok {
		return false
	}
	ack = c.down.turns.take(ack)
	if c.config.Handlers.Message == nil {
		return true // and the hub keeps it
	}
	properties := c.properties(rest)
	c.down.when(func() { c.hand(properties, body, ack) })
	return true
}

// hand gives a message to its handler. The caller holds c.down.mu.
func (c *Conn) hand(properties map[string]string, body []byte, ack func()) {
	d := c.down
	if d.held >= maxHeld {
		return
	}
	d.held++
	go func() {
		if c.config.Handlers.Message(session{c.session}, properties, body) == nil {
			ack()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.held--
	}()
}

// properties reads what stands behind the prefix: the bag, and for a module first the name of its input.
func (c *Conn) properties(rest string) map[string]string {
	if !strings.HasSuffix(c.messagePrefix(), moduleMessages) {
		return parseBag(rest)
	}
	input, bag, _ := strings.Cut(rest, "/")
	all := parseBag(bag)
	all["$.input"] = unescape(input)
	return all
}

// parseBag reads k=v&k=v, percent-encoded, where '+' is no space. The documentation shows a leading "/?", the SDKs have
// none. What is not encoded as it should be is taken as it stands: a message that nobody can read would stay for ever.
func parseBag(bag string) map[string]string {
	all := map[string]string{}
	bag = strings.TrimPrefix(strings.TrimPrefix(bag, "/"), "?")
	for pair := range strings.SplitSeq(bag, "&") {
		if k, v, _ := strings.Cut(pair, "="); k != "" {
			all[unescape(k)] = unescape(v)
		}
	}
	return all
}

func unescape(s string) string {
	if decoded, err := url.PathUnescape(s); err == nil {
		return decoded
	}
	return s
}
