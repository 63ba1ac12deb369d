package mqtt

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// nat is a connection through a box that forgets it, without a word, once nothing has moved for a while.
type nat struct {
	net.Conn
	mu     sync.Mutex
	memory func() time.Duration
	moved  time.Time
	gone   bool
}

func (n *nat) passes() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = n.gone || time.Since(n.moved) > n.memory()
	n.moved = time.Now()
	return !n.gone
}

func (n *nat) Write(p []byte) (int, error) {
	if !n.passes() {
		return len(p), nil
	}
	return n.Conn.Write(p)
}

func (n *nat) Read(p []byte) (int, error) {
	got, err := n.Conn.Read(p)
	n.passes()
	return got, err
}

// behindNAT runs story in virtual time; the box forgets after *memory.
func behindNAT(t *testing.T, story func(t *testing.T, w *world, memory *time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, accepting)
		w.today(t)
		var mu sync.Mutex
		memory := time.Hour
		dial := w.Options.Dial
		w.Options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			return &nat{Conn: c, moved: time.Now(), memory: func() time.Duration { mu.Lock(); defer mu.Unlock(); return memory }}, err
		}
		w.Rhythm, w.KeepAlive = &Rhythm{}, 4*time.Minute
		story(t, w, &memory)
	})
}

// lives reports whether a session lasts for d.
func lives(t *testing.T, w *world, d time.Duration) bool {
	t.Helper()
	c := w.dial(t)
	defer c.Close()
	return !within(d, c.Done())
}

// settles returns how many sessions are lost before one lasts for an hour.
func settles(t *testing.T, w *world) (lost int) {
	t.Helper()
	for !lives(t, w, time.Hour) {
		if lost++; lost > 20 {
			t.Fatal("no session lives")
		}
	}
	return lost
}

func TestFault43PauseBetweenPingsComesDownToWhatTheNATKeeps(t *testing.T) {
	for _, s := range []struct {
		memory, want time.Duration
		lost         int
	}{{time.Hour, 0, 0}, {200 * time.Second, 2 * time.Minute, 2}, {50 * time.Second, shortest, 6}} {
		behindNAT(t, func(t *testing.T, w *world, memory *time.Duration) {
			*memory = s.memory
			if lost := settles(t, w); lost != s.lost || w.Rhythm.Every() != s.want {
				t.Errorf("a NAT of %v: %d sessions lost, a ping each %v", s.memory, lost, w.Rhythm.Every())
			}
			if lost := settles(t, w); lost != 0 {
				t.Errorf("a NAT of %v: not remembered, %d sessions lost", s.memory, lost)
			}
		})
	}
}

func TestFault43ReadingsThatComeMoreRarelyThanTheNATKeepsAreEvidenceToo(t *testing.T) {
	behindNAT(t, func(t *testing.T, w *world, memory *time.Duration) {
		*memory = 45 * time.Second
		for range deaths {
			c := w.dial(t)
			<-time.After(time.Minute)
			flight := c.Publish("t", []byte("1"))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if flight.Wait(ctx) == nil {
				t.Error("acknowledged through a box that has forgotten")
			}
			cancel()
			c.Close()
		}
		if every := w.Rhythm.Every(); every != shortest {
			t.Errorf("a ping each %v", every)
		}
	})
}

func TestPauseBetweenPingsGrowsBackOverDays(t *testing.T) {
	behindNAT(t, func(t *testing.T, w *world, memory *time.Duration) {
		*memory = 100 * time.Second
		settles(t, w)
		if every := w.Rhythm.Every(); every != time.Minute {
			t.Fatalf("a ping each %v", every)
		}
		*memory = time.Hour
		c := w.dial(t)
		defer c.Close()
		longer := 0
		for before := w.Rhythm.Every(); before != 0 && longer < 10; longer++ {
			<-time.After(2 * calm)
			now := w.Rhythm.Every()
			if now != 0 && (now <= before || now > before*3/2) {
				t.Errorf("from %v to %v", before, now)
			}
			before = now
		}
		if every := w.Rhythm.Every(); every != 0 || c.Err() != nil {
			t.Errorf("a ping each %v after weeks: %v", every, c.Err())
		}
	})
}

func TestLongerPauseIsTriedEverMoreRarelyWhereItDoesNotWork(t *testing.T) {
	behindNAT(t, func(t *testing.T, w *world, memory *time.Duration) {
		*memory = 100 * time.Second
		lost := 0
		for until := time.Now().Add(120 * 24 * time.Hour); time.Now().Before(until); {
			if !lives(t, w, time.Until(until)) {
				lost++
			}
		}
		if lost > 30 {
			t.Errorf("%d sessions lost in four months", lost)
		}
	})
}

func TestOneOutageShortensNothing(t *testing.T) {
	behindNAT(t, func(t *testing.T, w *world, memory *time.Duration) {
		for range 5 {
			*memory = 0
			if lives(t, w, time.Hour) {
				t.Fatal("the outage was none")
			}
			*memory = time.Hour
			if !lives(t, w, time.Hour) {
				t.Fatal("the outage was more")
			}
		}
		if every := w.Rhythm.Every(); every != 0 {
			t.Errorf("a ping each %v", every)
		}
	})
}

func TestSessionsThatEndWhileNobodyWaitsShortenNothing(t *testing.T) {
	behindNAT(t, func(t *testing.T, w *world, memory *time.Duration) {
		for range 5 {
			c := w.dial(t)
			<-time.After(3 * time.Minute)
			c.Publish("t", []byte("1"))
			c.Close()
		}
		if every := w.Rhythm.Every(); every != 0 {
			t.Errorf("a ping each %v", every)
		}
	})
}

func TestMachineThatSleptLearnsNothingFromTheSessionThatDiedMeanwhile(t *testing.T) {
	r := &Rhythm{}
	for range 3 * deaths {
		r.silent(8*time.Hour, 4*time.Minute)
	}
	if r.Every() != 0 {
		t.Errorf("a ping each %v", r.Every())
	}
}
