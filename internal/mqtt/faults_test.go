package mqtt

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// lingering runs story in virtual time, and an hour more: what the other side still does, or is on its way, comes to its end.
func lingering(t *testing.T, story func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		story(t)
		<-time.After(time.Hour)
	})
}

func TestFault44LinkOfAKilobyteASecondCarriesLargeMessagesBothWays(t *testing.T) {
	for _, socket := range []bool{false, true} {
		lingering(t, func(t *testing.T) {
			large := make([]byte, 120<<10) // two minutes
			w := newWorld(t, func(p *peer) {
				p.accept()
				n := 3 + len(large)
				p.send(append([]byte{publish << 4, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n >> 14), 0, 1, 'a'}, large...)...)
				p.obey()
			})
			w.WebSocket = socket
			dial := w.Options.Dial
			w.Options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := dial(ctx, network, address)
				return newSlowLink(c), err
			}
			got := make(chan int, 1)
			w.Receive = func(_ string, payload []byte, ack func()) { ack(); got <- len(payload) }
			c := w.dial(t)
			defer c.Close()
			start := time.Now()
			if err := c.Publish("t", large).Wait(t.Context()); err != nil {
				t.Errorf("WebSocket %v: after %v: %v", socket, time.Since(start), err)
			}
			select {
			case n := <-got:
				if n != len(large) {
					t.Errorf("%d bytes", n)
				}
			case <-c.Done():
				t.Errorf("WebSocket %v: after %v: %v", socket, time.Since(start), c.Err())
			}
		})
	}
}

func TestFault35ServerThatDripsAPacketForEverIsLeft(t *testing.T) {
	lingering(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			p.accept()
			p.send(publish<<4, 0xff, 0xff, 0x07)
			for range 6 * 30 { // half an hour
				p.send(0)
				<-time.After(10 * time.Second)
			}
		})
		c := w.dial(t)
		defer c.Close()
		start := time.Now()
		<-c.Done()
		if took := time.Since(start); took > longestPacket+2*time.Minute {
			t.Errorf("left after %v", took)
		}
	})
}

func TestFault35HalfAPacketAndSilenceIsNoticedWithinOneAndAHalfKeepAlives(t *testing.T) {
	for cut := range 4 {
		lingering(t, func(t *testing.T) {
			w := newWorld(t, func(p *peer) {
				p.accept()
				p.send([]byte{puback << 4, 2, 0, 1}[:cut]...)
				for {
					if _, _, err := p.read(); err != nil {
						return
					}
				}
			})
			w.KeepAlive = 4 * time.Minute
			c := w.dial(t)
			defer c.Close()
			flight, start := c.Publish("t", []byte("1")), time.Now()
			<-c.Done()
			if took := time.Since(start); took > 6*time.Minute || flight.Wait(t.Context()) == nil {
				t.Errorf("%d bytes of a packet: left after %v", cut, took)
			}
		})
	}
}

func TestFault35HalfAConnackEndsDialInTime(t *testing.T) {
	for cut := range 4 {
		lingering(t, func(t *testing.T) {
			w := newWorld(t, func(p *peer) {
				_, _, _ = p.read()
				p.send([]byte{connack << 4, 2, 0, 0}[:cut]...)
				_, _, _ = p.read()
			})
			start := time.Now()
			if _, err := Dial(t.Context(), w.Options); err == nil || time.Since(start) > time.Minute {
				t.Errorf("%d bytes of a CONNACK: after %v: %v", cut, time.Since(start), err)
			}
		})
	}
}

func TestFault37MessageThatIsNeverAcknowledgedIsNeverCalledSent(t *testing.T) {
	lingering(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			p.accept()
			for {
				kind, _, err := p.read()
				if err != nil {
					return
				}
				if kind == 12 {
					p.send(pingresp<<4, 0)
				}
			}
		})
		c := w.dial(t)
		flight := c.Publish("t", []byte("1"))
		<-time.After(time.Hour)
		if c.Err() != nil || flight.Landed() {
			t.Errorf("landed %v, session %v", flight.Landed(), c.Err())
		}
		c.Close()
		if flight.Wait(t.Context()) == nil {
			t.Error("it counts as sent after the session")
		}
	})
}

// TestFault38AnyBitFlippedInAnAcknowledgementFreesNoWrongMessage flips each bit of a PUBACK, and of a SUBACK.
func TestFault38AnyBitFlippedInAnAcknowledgementFreesNoWrongMessage(t *testing.T) {
	for bit := range 32 {
		lingering(t, func(t *testing.T) {
			w := newWorld(t, func(p *peer) {
				p.accept()
				_, _, _ = p.read()
				_, _, _ = p.read()
				answer := []byte{puback << 4, 2, 0, 1}
				answer[bit/8] ^= 1 << (bit % 8)
				p.send(answer...)
				<-time.After(10 * time.Second)
			})
			c := w.dial(t)
			defer c.Close()
			first, second := c.Publish("t", []byte("1")), c.Publish("t", []byte("2"))
			<-c.Done()
			if first.Wait(t.Context()) == nil || second.Wait(t.Context()) == nil {
				t.Errorf("bit %d: a message counts as sent", bit)
			}
		})
	}
	for bit := range 40 {
		lingering(t, func(t *testing.T) {
			w := newWorld(t, func(p *peer) {
				p.accept()
				_, body, _ := p.read()
				answer := []byte{suback << 4, 3, body[0], body[1], 1}
				answer[bit/8] ^= 1 << (bit % 8)
				p.send(answer...)
				<-time.After(10 * time.Second)
			})
			c := w.dial(t)
			defer c.Close()
			if err := c.Subscribe(t.Context(), "f"); err == nil && bit/8 != 4 {
				t.Errorf("bit %d: a filter counts as granted", bit)
			}
		})
	}
}
