package spool

import (
	"errors"
	"flag"
	"testing"
	"time"
)

// Each seed is a life of some two hundred events. A failure prints its seed and its last events.
var seeds = flag.Uint64("seeds", 120, "how many random lives the spool has to live through")

func TestRandomLivesKeepEveryPromise(t *testing.T) {
	const hour = time.Hour
	shapes := []Limits{
		{SegmentBytes: page},
		{SegmentBytes: 32 << 10},
		{MaxBytes: 64 << 10, SegmentBytes: page},
		{SegmentBytes: page, Within: hour},
		{MaxBytes: 64 << 10, SegmentBytes: page, Within: hour},
		{MaxBytes: 64 << 10, SegmentBytes: page, Drop: Refuse},
		{MaxBytes: 64 << 10, SegmentBytes: page, Drop: DropNewest, Within: hour},
		{SegmentBytes: page, TTL: hour},
		{MaxBytes: 64 << 10, SegmentBytes: page, TTL: hour, Within: hour},
	}
	for seed := range *seeds {
		w := newWorld(t, seed, shapes[seed%uint64(len(shapes))])
		damage := seed/uint64(len(shapes))%3 == 2
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
	switch w.rng.IntN(16) {
	case 0, 1, 2, 3, 4:
		err = w.put(1 + w.rng.IntN(3))
	case 5:
		err = w.put(1 + w.rng.IntN(160))
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
	case 12:
		err = w.aside()
	case 13, 14:
		err = w.flush()
	case 15:
		if w.l.TTL > 0 {
			w.pass()
		} else if w.rng.IntN(3) == 0 {
			err = w.close()
		}
	}
	if err == nil {
		return
	}
	if !errors.Is(err, errCut) {
		w.fatal("%v", err)
	}
	w.steps = -1
	if !w.s.closed && w.rng.IntN(3) == 0 {
		w.note("  it was only a failed write")
	} else {
		w.powerCut()
	}
	w.check()
}

// close ends a life in order: all that were given are on the medium.
func (w *world) close() error {
	next := w.s.next
	err := w.s.Close()
	w.note("close: %v", err)
	if errors.Is(err, ErrFull) && w.l.Drop != DropOldest {
		err = nil
	}
	if err != nil {
		return err
	}
	w.keep()
	w.reopen()
	if w.s.next != next && w.flips == 0 && w.s.at.written == next {
		w.fatal("after %d comes %d", next-1, w.s.next)
	}
	w.check()
	return nil
}

// TestFault6And7ACutAtEveryStepLosesNothing cuts the power once at each step of a life that has every kind of step in it,
// and takes from the medium what it need not have kept in several ways.
func TestFault6And7ACutAtEveryStepLosesNothing(t *testing.T) {
	for way := range uint64(6) {
		l := Limits{MaxBytes: 48 << 10, SegmentBytes: page}
		if way%2 == 1 {
			l.Within = time.Hour
		}
		for step := 0; ; step++ {
			w := newWorld(t, way, l)
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

// story puts in, acknowledges, sets aside and overflows; false when it was cut.
func (w *world) story() bool {
	for round := range 12 {
		if w.put(1+round*2) != nil || round%3 == 1 && w.flush() != nil || round%2 == 1 && w.ack() != nil {
			return false
		}
	}
	for round := range 12 {
		if w.put(30) != nil || w.flush() != nil || round == 6 && w.aside() != nil {
			return false
		}
	}
	return w.ack() == nil
}
