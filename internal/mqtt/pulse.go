package mqtt

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// pingTimeout is how long a server may take to answer a ping.
const pingTimeout = 20 * time.Second

var pingreq = []byte{12 << 4, 0}

var errNoPong = errors.New("no answer to a ping")

// pulse pings when nothing else has been sent for so long. It sleeps until then: paho's own keep-alive looks every five
// seconds whether it is time, and each look wakes a machine that may run on a battery.
type pulse struct {
	mu    sync.Mutex
	every time.Duration
	timer *time.Timer
	sent  time.Time // the last packet of ours
	asked bool      // a ping is not answered yet
}

func (w *wire) startPulse(every time.Duration) {
	w.pulse.mu.Lock()
	defer w.pulse.mu.Unlock()
	w.pulse.every, w.pulse.sent = every, time.Now()
	w.pulse.timer = time.AfterFunc(every, w.beat)
}

func (w *wire) stopPulse() {
	w.pulse.mu.Lock()
	defer w.pulse.mu.Unlock()
	if w.pulse.timer != nil {
		w.pulse.timer.Stop()
	}
}

// beat is the timer's turn: something was sent meanwhile, or a ping is due, or one has stayed without answer.
func (w *wire) beat() {
	w.pulse.mu.Lock()
	defer w.pulse.mu.Unlock()
	left := time.Until(w.pulse.sent.Add(w.pulse.every))
	switch {
	case w.closed.Load():
	case w.pulse.asked:
		w.die(errNoPong)
		w.Close()
	case left > 0:
		w.pulse.timer.Reset(left)
	case w.out.put(pingreq):
		w.pulse.sent, w.pulse.asked = time.Now(), true
		w.pulse.timer.Reset(pingTimeout)
	}
}

// sending notes a packet of ours. In a CONNECT it writes the keep-alive, which paho is not told of.
func (p *pulse) sending(packet []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = time.Now()
	const connect, before = 1, 8 // name, level and flags of the protocol (MQTT 3.1.1, 3.1.2)
	if packet[0]>>4 != connect {
		return
	}
	i := 1
	for i < len(packet)-1 && packet[i]&0x80 != 0 {
		i++
	}
	if at := i + 1 + before; at+2 <= len(packet) {
		binary.BigEndian.PutUint16(packet[at:], uint16(p.every/time.Second))
	}
}

// heard notes a packet of the server: it lives.
func (p *pulse) heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = false
}
