package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// press takes readings in for each of these times, and breaks after it; then until it is stopped.
type press struct {
	lives []time.Duration
	tries int
}

func (p *press) Run(ctx context.Context) error {
	p.tries++
	if p.tries > len(p.lives) {
		<-ctx.Done()
	} else {
		sleep(ctx, p.lives[p.tries-1])
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.New("the press is broken")
}

// kept runs p as the agent runs what takes readings in, for so long, and calls look with the agent's status every second.
func kept(t *testing.T, p *press, long time.Duration, look func(at time.Duration, s *status)) {
	inBubble(t, sim.Temper{Offline: true}, func(g *gateway) {
		b := g.start(&power{}, nil)
		ctx, stop := context.WithCancel(g.t.Context())
		var over sync.WaitGroup
		over.Go(func() { _ = b.keep(ctx, "press", p) })
		for at := time.Duration(0); at < long; at += time.Second {
			time.Sleep(time.Second)
			look(at+time.Second, b.board.now())
		}
		stop()
		over.Wait()
		g.end(b)
	})
}

func TestATroubleIsOverWhenReadingsComeInAgain(t *testing.T) {
	broken := 0
	kept(t, &press{lives: []time.Duration{0, 0, 5 * time.Second}}, time.Minute, func(at time.Duration, s *status) {
		if s.Troubles["press"].Error != "" {
			broken++
		} else if at > 0 && broken == 0 {
			t.Errorf("after %v nobody says that it is broken", at)
		}
		if trouble := s.Troubles["press"]; at == time.Minute && trouble.Error != "" {
			t.Errorf("it works, and the status says %+v", trouble)
		}
	})
}

func TestWhatWorksInBetweenIsTriedAgainAtOnce(t *testing.T) {
	p := &press{}
	for range 24 * 60 {
		p.lives = append(p.lives, time.Minute)
	}
	kept(t, p, 24*time.Hour, func(time.Duration, *status) {})
	if p.tries < 24*60*9/10 {
		t.Errorf("what breaks each minute was started %d times in a day: the waits have grown", p.tries)
	}
}

func TestWhatMemoryKeepsAndTheDiskDoesNotTakeIsSaidAtTheEnd(t *testing.T) {
	inBubble(t, sim.Temper{Offline: true}, func(g *gateway) {
		g.config.Telemetry.Streams = map[string]streamConfig{"fast": {keepConfig: keepConfig{Within: time.Hour}}}
		supply := &power{}
		b := g.start(supply, nil)
		b.put("fast", 1)
		supply.mu.Lock()
		supply.dead = true
		supply.mu.Unlock()
		g.end(b)
		if log := g.log.String(); !strings.Contains(log, "what was in memory is not on the disk") || !strings.Contains(log, "stream=fast") {
			t.Errorf("the log says\n%s", log)
		}
	})
}
