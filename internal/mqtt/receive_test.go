package mqtt

import (
	"testing"
	"testing/synctest"
	"time"
)

// post is a server that sends two messages of QoS 1, and tells which acknowledgements come back.
func post(acks chan<- byte) func(p *peer) {
	return func(p *peer) {
		defer close(acks)
		p.accept()
		p.send(publish<<4|2, 6, 0, 1, 'a', 0, 7, '1', publish<<4|2, 6, 0, 1, 'b', 0, 8, '2')
		for {
			kind, body, err := p.read()
			if err != nil {
				return
			}
			if kind == puback {
				acks <- body[1]
			}
		}
	}
}

func TestMessageIsAcknowledgedWhenItsReceiverSaysSoAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acks, waiting := make(chan byte, 4), make(chan func(), 2)
		w := newWorld(t, post(acks))
		w.Receive = func(_ string, _ []byte, ack func()) { waiting <- ack }
		c := w.dial(t)
		first, second := <-waiting, <-waiting
		<-time.After(time.Second)
		if len(acks) != 0 {
			t.Fatal("acknowledged before anybody said so")
		}
		second()
		second()
		<-time.After(time.Second)
		if len(acks) != 1 || <-acks != 8 {
			t.Fatalf("%d acknowledgements", len(acks))
		}
		c.Close()
		first()
		if late, ok := <-acks; ok {
			t.Errorf("message %d acknowledged after the session", late)
		}
	})
}

func TestMessagesThatNobodyWantsAreAcknowledgedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acks := make(chan byte, 4)
		w := newWorld(t, post(acks))
		c := w.dial(t)
		if a, b := <-acks, <-acks; a != 7 || b != 8 {
			t.Errorf("acknowledged %d and %d", a, b)
		}
		c.Close()
	})
}

func TestAcknowledgementAmidTheEndOfTheSessionHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			acks, waiting := make(chan byte, 4), make(chan func(), 2)
			w := newWorld(t, post(acks))
			w.Receive = func(_ string, _ []byte, ack func()) { waiting <- ack }
			c := w.dial(t)
			first, second := <-waiting, <-waiting
			go first()
			go c.wire.Close()
			second()
			c.Close()
		}
	})
}
