package iothub

import "sync"

// turns sends acknowledgements in the order of what they are for, whenever they are said: MQTT 3.1.1, 4.6, wants that, and
// Azure's protocol gateway ends the session of a device that does otherwise. The zero value is ready for use.
type turns struct {
	mu      sync.Mutex
	waiting []*turn
}

// turn is one message that wants an acknowledgement.
type turn struct {
	ack  func()
	said bool
}

// maxTurns is more than a hub has under way at a time: 50 messages, and answers about certificates.
const maxTurns = 1024

// take returns what says that the message which has come now may be acknowledged. Beyond maxTurns it does nothing: the hub
// sends the message again in the next session.
func (t *turns) take(ack func()) func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == maxTurns {
		return func() {}
	}
	mine := &turn{ack: ack}
	t.waiting = append(t.waiting, mine)
	return func() { t.say(mine) }
}

func (t *turns) say(mine *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	mine.said = true
	for len(t.waiting) > 0 && t.waiting[0].said {
		t.waiting[0].ack()
		t.waiting = t.waiting[1:]
	}
}
