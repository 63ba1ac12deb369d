package spool

import "time"

// Limits bound the spool. Zero values mean the defaults.
type Limits struct {
	// MaxBytes is what the spool takes on disk: 64 MiB. What happens beyond it is for Drop to say.
	MaxBytes int64
	// SegmentBytes is the size of a file and so the grain in which room is given back: 1 MiB, and at most an
	// eighth of MaxBytes.
	SegmentBytes int64
	// Reserve is how much of the file system is left to others, to a certificate above all: 1 MiB, and at most a
	// sixteenth of the file system. Below it the spool takes no more room, and Drop says what follows. Negative:
	// none, and a full disk is an error of Append whatever Drop says.
	Reserve int64
	// Drop says what gives way when there is no room.
	Drop Drop
	// TTL is how long a reading may wait: one that is older is counted in Stats.Expired and never returned by Peek
	// and After. 0 = for ever. The age is measured, not believed: a wall clock that is set does not change it, and
	// where nobody can know it (stamped in 1970 before a restart), it counts from Open.
	TTL time.Duration
	// Within is how long a reading may live in memory alone. 0: Append returns when the reading is on the medium.
	// More: Append returns at once, and the reading is on the medium within that time, unless Ack names it before:
	// then it costs the flash nothing. SO A POWER CUT OR A KILL MAY LOSE READINGS YOUNGER THAN WITHIN, or than ten
	// times that when Budget is nearly used. Close writes what is in memory.
	Within time.Duration
	// Budget is how many bytes a day the medium should be made to take. When more than half of it is used, Within is
	// stretched, up to tenfold, and acknowledgements are noted less often, so that a power cut repeats more. A
	// spool whose Within is 0 keeps its promise at any price. 0 = no budget.
	Budget int64
}

// Drop is what gives way when the spool is full.
type Drop uint8

const (
	// DropOldest gives up the oldest segment. Its readings are counted in Stats.Dropped.
	DropOldest Drop = iota
	// DropNewest gives up the new reading: Append says ErrFull, which time does not heal (fault.Permanent), and
	// counts it in Stats.Refused.
	DropNewest
	// Refuse gives up nothing: Append says ErrFull, and when to come again (fault.RetryAfter), and counts that in
	// Stats.Refused.
	Refuse
)

const reserveBytes = 1 << 20

func (l Limits) filled() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = 64 << 20
	}
	if l.SegmentBytes <= 0 {
		l.SegmentBytes = 1 << 20
	}
	l.SegmentBytes = max(min(l.SegmentBytes, l.MaxBytes/8), page)
	l.TTL, l.Within = max(l.TTL, 0), max(l.Within, 0)
	return l
}

// spare is how many bytes of segments that nobody waits for are kept, to make others of. Blocks that were written once
// need no journal when they are written again, which spares the flash a third; what is kept is not free for others.
func (l Limits) spare() int64 { return max(l.MaxBytes/8, l.SegmentBytes) }
