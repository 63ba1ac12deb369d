package sensors

import (
	"context"
	"errors"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// atOnce is how many lines go into the spool in one commit.
const atOnce = 256

// put returns once the readings are in the spool, or ctx has ended. A reading that the spool will never take is skipped.
func (f *follower) put(ctx context.Context, bodies [][]byte) error {
	backoff := fault.Backoff{Max: time.Minute, Slow: time.Minute}
	most := atOnce
	for len(bodies) > 0 {
		n := min(most, len(bodies))
		err := f.commit(ctx, bodies[:n])
		if refused(err) && n > 1 {
			most = 1 // which of them?
			continue
		}
		if err = f.count(n, err); err == nil {
			bodies = bodies[n:]
		}
		f.tell(err)
		if len(bodies) == 0 {
			return nil // also where ctx has ended meanwhile: they are in the spool, and need not go again
		}
		wait, again := backoff.Next(err)
		if !again || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		pause(ctx, wait)
	}
	return nil
}

func (f *follower) commit(ctx context.Context, bodies [][]byte) error {
	readings := make([]spool.Reading, len(bodies))
	for i, body := range bodies {
		readings[i] = spool.Reading{Stream: f.Stream, Body: body}
	}
	_, err := f.Spool.Put(ctx, readings...)
	return err
}

// refused reports whether asking again is of no use: the spool takes such a reading never, or is full and drops what is
// new. A full disk is another matter: the file waits for it.
func refused(err error) bool { return fault.Of(err) == fault.Permanent }

// count notes what became of n readings. What is refused is counted and no error any more.
func (f *follower) count(n int, err error) error {
	if err == nil {
		f.taken.Add(uint64(n))
	} else if refused(err) {
		if f.skipped.Add(uint64(n)) == uint64(n) {
			f.Log.Warn("lines are skipped: the spool does not take them", "file", f.File, "err", err)
		}
		err = nil
	}
	return err
}
