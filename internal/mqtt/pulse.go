package mqtt

import (
	"encoding/binary"
	"errors"
	"sync"
	"syscall"
	"time"
)

const (
	// pingTimeout is how long a server may take to answer a ping.
	pingTimeout = 20 * time.Second
	// slow is how long an answer must have been missing at the end of a session to say that it was not on its way.
	slow = 5 * time.Second
)

var pingreq = []byte{12 << 4, 0}

var errNoPong = errors.New("no answer to a ping")

// pulse pings when nothing else has been sent for so long. It sleeps until then: paho's own keep-alive looks every five
// seconds whether it is time, and each look wakes a machine that may run on a battery.
type pulse struct {
	mu     sync.Mutex
	every  time.Duration // what the server was told
	rhythm *Rhythm       // what we do; nil = what the server was told
	timer  *time.Timer
	sent   time.Time     // the last packet of ours
	moved  time.Time     // the last packet of anybody
	asked  bool          // a ping is not answered yet
	read   uint64        // bytes at the last look since then
	asking time.Time     // the first packet that wants an answer, since the server was last heard; zero = none
	idle   time.Duration // how long nothing had moved before it
}

func (w *wire) startPulse(every time.Duration, rhythm *Rhythm) {
	p := &w.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every, p.rhythm, p.sent, p.moved = every, rhythm, time.Now(), time.Now()
	p.timer = time.AfterFunc(rhythm.pause(every), w.beat)
}

// stopPulse ends it and draws its conclusion.
func (w *wire) stopPulse() {
	p := &w.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	if !p.asking.IsZero() && (time.Since(p.asking) >= slow || dropped(w.why())) {
		p.rhythm.silent(p.idle, p.every)
	}
}

// dropped reports whether err is how the kernel says that somebody on the way does not know the connection any more.
func dropped(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ETIMEDOUT)
}

// beat is the timer's turn: something was sent meanwhile, or a ping is due, or one has stayed without answer.
func (w *wire) beat() {
	p := &w.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	left := time.Until(p.sent.Add(p.rhythm.pause(p.every)))
	switch {
	case w.closed.Load():
	case p.asked && !p.coming(w.link.read.Load()):
		w.die(errNoPong)
		w.Close()
	case p.asked:
		p.timer.Reset(pingTimeout)
	case left > 0:
		p.timer.Reset(left)
	case w.out.put(pingreq):
		p.asked, p.read = true, w.link.read.Load()
		p.note(pingreq)
		p.timer.Reset(pingTimeout)
	}
}

// coming reports whether the answer to the ping is on its way, behind a packet that takes its time: bytes have come since
// the last look.
func (p *pulse) coming(read uint64) bool {
	before := p.read
	p.read = read
	return read != before && time.Since(p.asking) < longestPacket
}

// sending notes a packet of ours. In a CONNECT it writes the keep-alive, which paho is not told of.
func (p *pulse) sending(packet []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(packet)
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

// note keeps the time of a packet of ours. All that we send is answered, but for PUBACK and DISCONNECT.
func (p *pulse) note(packet []byte) {
	now := time.Now()
	if kind := packet[0] >> 4; p.asking.IsZero() && kind != puback && packet[0] != disconnect {
		p.asking, p.idle = now, now.Sub(p.moved)
	}
	p.sent, p.moved = now, now
}

// heard notes a packet of the server: it lives.
func (p *pulse) heard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asking.IsZero() {
		p.rhythm.answered(p.idle, p.every)
	}
	p.asked, p.asking, p.moved = false, time.Time{}, time.Now()
}
