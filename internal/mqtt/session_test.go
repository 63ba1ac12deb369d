package mqtt

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

func TestPublishIsOverWhenTheServerHasAcknowledgedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acknowledge := make(chan struct{})
		w := newWorld(t, func(p *peer) {
			p.accept()
			_, body, _ := p.read()
			<-acknowledge
			p.send(puback<<4, 2, body[len(body)-4], body[len(body)-3])
			p.obey()
		})
		c := w.dial(t)
		defer c.Close()
		flight := c.Publish("t", []byte("hi"))
		early, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := flight.Wait(early); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("before the acknowledgement: %v", err)
		}
		close(acknowledge)
		if err := flight.Wait(t.Context()); err != nil {
			t.Errorf("after the acknowledgement: %v", err)
		}
	})
}

func TestLostSessionFailsWhatIsNotAcknowledgedAndKeepsWhatIs(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(p *peer) {
				p.accept()
				_, body, _ := p.read()
				_, _, _ = p.read()
				p.send(puback<<4, 2, body[3], body[4])
			})
			w.Persistent = persistent
			c := w.dial(t)
			defer c.Close()
			first, second := c.Publish("t", []byte("1")), c.Publish("t", []byte("2"))
			<-c.Done()
			if err := first.Wait(t.Context()); err != nil {
				t.Errorf("persistent %v: acknowledged message: %v", persistent, err)
			}
			if err := second.Wait(t.Context()); err == nil {
				t.Errorf("persistent %v: message without acknowledgement counts as sent", persistent)
			}
			if third := c.Publish("t", nil).Wait(t.Context()); !errors.Is(third, ErrLost) {
				t.Errorf("persistent %v: publish after the end: %v", persistent, third)
			}
			if !errors.Is(c.Err(), ErrLost) || fault.Of(c.Err()) != fault.Transient {
				t.Errorf("Err = %v", c.Err())
			}
		})
	}
}

func TestRefusedFilterIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			p.accept()
			_, body, _ := p.read()
			p.send(suback<<4, 3, body[0], body[1], 0x80)
			p.obey()
		})
		c := w.dial(t)
		defer c.Close()
		if err := c.Subscribe(t.Context(), "forbidden/#"); fault.Of(err) != fault.Permanent {
			t.Errorf("SUBACK 0x80: %v", err)
		}
		if err := c.Subscribe(t.Context(), "allowed/#"); err != nil {
			t.Errorf("SUBACK 1: %v", err)
		}
	})
}

func TestMessagesArriveFromTheFirstByteAfterConnack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			_, _, _ = p.read()
			p.send(connack<<4, 2, 1, 0, publish<<4, 4, 0, 1, 'a', '1', publish<<4|2, 6, 0, 1, 'b', 0, 7, '2')
			p.obey()
		})
		arrived := make(chan string, 2)
		w.Receive = func(topic string, payload []byte, ack func()) { ack(); arrived <- topic + string(payload) }
		c := w.dial(t)
		defer c.Close()
		if a, b := <-arrived, <-arrived; a != "a1" || b != "b2" {
			t.Errorf("arrived: %s %s", a, b)
		}
	})
}

func TestSilentServerIsNoticedWithinOneAndAHalfKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			p.accept()
			for {
				if _, _, err := p.read(); err != nil {
					return
				}
			}
		})
		w.KeepAlive = 4 * time.Minute
		c := w.dial(t)
		defer c.Close()
		start := time.Now()
		<-c.Done()
		if silence := time.Since(start); silence > 6*time.Minute || silence < 4*time.Minute {
			t.Errorf("noticed after %v", silence)
		}
	})
}

func TestStalledServerHoldsNeitherPublishNorClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled := make(chan struct{})
		w := newWorld(t, func(p *peer) {
			p.accept()
			<-stalled
		})
		defer close(stalled)
		c := w.dial(t)
		start := time.Now()
		for range 8 {
			c.Publish("t", make([]byte, 1000))
		}
		c.Close()
		if took := time.Since(start); took > 2*quiesce {
			t.Errorf("took %v", took)
		}
	})
}

func TestStalledServerEndsTheSessionOnceAWriteTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stalled := make(chan struct{})
		w := newWorld(t, func(p *peer) {
			p.accept()
			<-stalled
		})
		defer close(stalled)
		w.KeepAlive = time.Hour
		c := w.dial(t)
		start := time.Now()
		flight := c.Publish("t", make([]byte, 1000))
		if err := flight.Wait(t.Context()); err == nil {
			t.Error("a message that was not taken counts as sent")
		}
		if took := time.Since(start); took > writeTimeout+settle {
			t.Errorf("took %v", took)
		}
		c.Close()
	})
}

func TestSessionThatEndsAmidPublishesIsLetGoOfSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			p.accept()
			_, _, _ = p.read()
		})
		for range 50 {
			c := w.dial(t)
			for range 60 {
				c.Publish("t", []byte("1"))
			}
			<-c.Done()
			start := time.Now()
			c.Close()
			if took := time.Since(start); took > handover {
				t.Fatalf("took %v", took)
			}
		}
	})
}

func TestCloseSaysGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goodbye := make(chan byte, 1)
		w := newWorld(t, func(p *peer) {
			p.accept()
			kind, _, _ := p.read()
			goodbye <- kind
		})
		c := w.dial(t)
		if err := errors.Join(c.Close(), c.Close()); err != nil || !errors.Is(c.Err(), ErrClosed) {
			t.Errorf("Close: %v, Err: %v", err, c.Err())
		}
		if kind := <-goodbye; kind != 14 {
			t.Errorf("last packet is of type %d, want DISCONNECT", kind)
		}
	})
}

func TestServerThatBreaksTheProtocolEndsTheSession(t *testing.T) {
	for name, packet := range map[string][]byte{
		"SUBACK for nothing":      {suback << 4, 3, 0, 9, 1},
		"SUBACK for a PUBLISH":    {suback << 4, 3, 0, 1, 1},
		"second CONNACK":          {connack << 4, 2, 0, 0},
		"PUBLISH with QoS 2":      {publish<<4 | 4, 6, 0, 1, 'a', 0, 7, '2'},
		"PUBLISH without a topic": {publish << 4, 2, 0, 9},
		"enormous packet":         {publish << 4, 0xff, 0xff, 0xff, 0x7f},
		"endless length":          {publish << 4, 0x80, 0x80, 0x80, 0x80, 0x80},
		"a client's packet":       {1 << 4, 0},
		"PUBREC":                  {5 << 4, 2, 0, 1},
		"short PUBACK":            {puback << 4, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(p *peer) {
					p.accept()
					_, _, _ = p.read()
					p.send(packet...)
					p.obey()
				})
				c := w.dial(t)
				defer c.Close()
				if err := c.Publish("t", []byte("1")).Wait(t.Context()); err == nil {
					t.Error("the message counts as sent")
				}
				<-c.Done()
			})
		})
	}
}

func TestSubscriptionWithTooManyAnswersEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			p.accept()
			_, body, _ := p.read()
			p.send(suback<<4, 4, body[0], body[1], 1, 1)
			p.obey()
		})
		c := w.dial(t)
		defer c.Close()
		if err := c.Subscribe(t.Context(), "f"); !errors.Is(err, ErrLost) {
			t.Errorf("%v", err)
		}
	})
}

func TestUnknownAndRepeatedAcknowledgementsAreHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(p *peer) {
			p.accept()
			_, first, _ := p.read()
			_, second, _ := p.read()
			p.send(puback<<4, 2, 0x77, 0x77)
			p.send(puback<<4, 2, first[3], first[4])
			p.send(puback<<4, 2, first[3], first[4])
			_, _, _ = p.read()
			p.send(puback<<4, 2, second[3], second[4])
			p.obey()
		})
		c := w.dial(t)
		defer c.Close()
		first, second := c.Publish("t", []byte("1")), c.Publish("t", []byte("2"))
		if err := first.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		early, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := second.Wait(early); err == nil {
			t.Fatal("another message's acknowledgement counted")
		}
		c.Publish("t", []byte("3"))
		if err := second.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
