package spool

import "time"

const (
	// stepped is the smallest change of the wall clock against the running time that counts as a step, and not as
	// the slew of a time service.
	stepped = int64(time.Minute)
	// believable is the highest age that a wall clock is believed of a reading of an earlier life: what looks older
	// was stamped, or is looked at, by a clock that has lost its battery.
	believable = 400 * 24 * time.Hour
	maxEras    = 16
)

// plausible is the start of 2025: no device of ours took a reading before.
var plausible = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// clock tells how old a reading is, although the wall clock may be wrong when the reading comes, and be set while
// it waits.
//
// Of a reading of this life the running time tells the age. Of one of an earlier life only wall clocks can tell, and
// so the youngest age counts that any setting of this life's clock gives it: it is better to send an old reading
// than to lose a young one.
type clock struct {
	read func() (wall time.Time, up time.Duration)
	eras []era
}

// era is a time in which the wall clock was not set.
type era struct {
	from   uint64 // the first number that was given in it
	start  time.Duration
	offset int64 // from the running time to the wall clock's
}

func newClock() clock {
	opened := time.Now()
	return clock{read: func() (time.Time, time.Duration) {
		now := time.Now()
		return now, now.Sub(opened)
	}}
}

// look takes note of how the wall clock stands before the number next is given, and returns the running time.
func (c *clock) look(next uint64) time.Duration {
	wall, up := c.read()
	offset := wall.UnixNano() - int64(up)
	if n := len(c.eras); n > 0 {
		if d := offset - c.eras[n-1].offset; -stepped <= d && d <= stepped {
			return up
		}
	}
	if len(c.eras) == maxEras {
		c.eras = append(c.eras[:0], c.eras[1:]...) // its readings are now as those of an earlier life
	}
	c.eras = append(c.eras, era{next, up, offset})
	return up
}

// age is how old the reading of number seq is at the running time up, at least.
func (c *clock) age(seq uint64, stamp int64, up time.Duration) time.Duration {
	for i := len(c.eras) - 1; i >= 0; i-- {
		if e := c.eras[i]; e.from <= seq {
			if age := up - time.Duration(stamp-e.offset); 0 <= age && age <= up {
				return age
			}
			return 0 // the clock was set between its stamp and its number
		}
	}
	return c.foreign(stamp, up)
}

func (c *clock) foreign(stamp int64, up time.Duration) time.Duration {
	least := up - c.eras[0].start
	best := time.Duration(-1)
	for _, e := range c.eras {
		age := time.Duration(int64(up) + e.offset - stamp)
		if stamp >= plausible && least <= age && age <= believable && (best < 0 || age < best) {
			best = age
		}
	}
	return max(best, least)
}
