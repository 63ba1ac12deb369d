package spool

import (
	"errors"
	"flag"
	"testing"
)

// Each seed is a life of some two hundred events. A failure prints its seed and its last events.
var seeds = flag.Uint64("seeds", 120, "how many random lives the spool has to live through")

func TestRandomLivesKeepEveryPromise(t *testing.T) {
	shapes := []Limits{
		{SegmentBytes: page},
		{SegmentBytes: 32 << 10},
		{MaxBytes: 64 << 10, SegmentBytes: page},
	}
	for seed := range *seeds {
		w := newWorld(t, seed, shapes[seed%3])
		damage := seed%2 == 1
		for range 200 {
			w.live(damage)
		}
		w.powerCut()
		w.check()
	}
}

// live is one event of a life, and what follows when it is cut.
func (w *world) live(damage bool) {
	if w.steps < 0 && w.rng.IntN(6) == 0 {
		w.steps = w.rng.IntN(12)
	}
	var err error
	switch w.rng.IntN(12) {
	case 0, 1, 2, 3, 4:
		err = w.put(1 + w.rng.IntN(3))
	case 5:
		err = w.put(1 + w.rng.IntN(60))
	case 6, 7, 8:
		err = w.ack()
	case 9:
		w.check()
	case 10:
		w.note("killed")
		w.reopen()
		w.check()
	case 11:
		if damage && w.rng.IntN(4) == 0 {
			w.flip()
			w.check()
		}
	}
	if err == nil {
		return
	}
	if !errors.Is(err, errCut) {
		w.fatal("%v", err)
	}
	w.steps = -1
	if w.rng.IntN(3) == 0 {
		w.note("  it was only a failed write")
	} else {
		w.powerCut()
	}
	w.check()
}

// TestACutAtEveryStepLosesNothing cuts the power once at each step of a life that has every kind of step in it,
// and takes from the medium what it need not have kept in several ways.
func TestACutAtEveryStepLosesNothing(t *testing.T) {
	for way := range uint64(6) {
		for step := 0; ; step++ {
			w := newWorld(t, way, Limits{MaxBytes: 48 << 10, SegmentBytes: page})
			w.steps = step
			if w.story() {
				if step < 100 {
					t.Errorf("the story has %d steps only", step)
				}
				break
			}
			w.powerCut()
			w.check()
			if !w.story() {
				w.fatal("the spool does not go on")
			}
			w.check()
		}
	}
}

// story puts in, acknowledges and overflows; false when it was cut.
func (w *world) story() bool {
	for round := range 12 {
		if w.put(1+round*2) != nil || round%2 == 1 && w.ack() != nil {
			return false
		}
	}
	for range 12 {
		if w.put(30) != nil {
			return false
		}
	}
	return w.ack() == nil
}
