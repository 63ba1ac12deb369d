package sensors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/telemetry"
)

// Tail follows a file or FIFO that others write into: each line becomes a reading of its own. A JSON object stays as it is,
// NAME=VALUE pairs become an object, anything else {"line": text}.
//
// A file is followed across rotation, by rename or by truncation, and across restarts. Where it was is written to Place
// after the readings are in the spool, within ten seconds and at the end: after a crash lines may be read a second time, and
// none is passed over. A FIFO has no position: while the spool takes nothing, its writers wait.
type Tail struct {
	File      string
	Stream    string
	Format    Format // "" is Auto
	FromStart bool   // the first time, take what is in the file already
	Spool     telemetry.Store
	Place     *durable.Dir // nil: after a restart the file is as new as the first time
	Log       *slog.Logger

	taken, skipped atomic.Uint64
}

// Lines counts what became of the lines since the start.
type Lines struct {
	Taken   uint64 `json:"taken"`   // in the spool
	Skipped uint64 `json:"skipped"` // longer than 64 KB, or not taken by the spool for good
}

// Lines is the count so far.
func (t *Tail) Lines() Lines { return Lines{Taken: t.taken.Load(), Skipped: t.skipped.Load()} }

const (
	lineLimit = 64 << 10
	chunk     = 64 << 10
	// settle is how long a file that was renamed is still read: its writer learns of it a moment later.
	settle = time.Second
	// keep is how long a new position may wait for the medium. A write each time would wear flash out.
	keep = 10 * time.Second
	// gather is how long lines are let to gather after some were read, so that many writes are one wake-up.
	gather = 100 * time.Millisecond
	// slow is how often to look where the kernel cannot tell of changes, and rare where it can and should.
	slow, rare = 10 * time.Second, time.Minute
)

// follower is a Tail at work.
type follower struct {
	*Tail
	file     *os.File
	fifo     bool
	at       place     // the first byte that is not a reading yet
	head     []byte    // how the file begins, up to there
	buf      []byte    // what was read behind it
	lost     bool      // the file was closed for an error, and goes on at that place
	met      bool      // a file was open before: the next one is read from its start
	replaced time.Time // when the path was first seen to be another file
	unsaved  time.Time // when at moved past what is on the medium; zero where it has not
	eyes     *eyes
	told     string // what is wrong with the file
}

// Run follows the file until ctx ends or the spool or the medium is past all help (Fatal). A file that is not there is
// waited for.
func (t *Tail) Run(ctx context.Context) error {
	f := &follower{Tail: t, eyes: open(t.File)}
	defer func() { f.eyes.close() }()
	defer f.close()
	for {
		err := f.turn(ctx)
		if ctx.Err() != nil {
			err = f.save()
		}
		if fault.Of(err) == fault.Fatal {
			return fmt.Errorf("tail %s: %w", t.File, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f.tell(err)
		if err != nil {
			f.lose()
			pause(ctx, slow)
		}
	}
}

// turn opens the file, takes what is there, or waits.
func (f *follower) turn(ctx context.Context) error {
	if f.file == nil {
		err := f.open()
		if errors.Is(err, fs.ErrNotExist) {
			f.eyes.wait(ctx, f.until())
			return nil
		}
		return err
	}
	if f.fifo {
		return f.drain(ctx)
	}
	more, err := f.pull(ctx)
	if more || err != nil {
		return err
	}
	if again, err := f.look(ctx); again || err != nil {
		return err
	}
	if !f.unsaved.IsZero() && time.Since(f.unsaved) >= keep {
		if err := f.save(); err != nil {
			return err
		}
	}
	if f.eyes.wait(ctx, f.until()) {
		pause(ctx, gather)
	}
	return nil
}

// until is how long to wait for a change at most.
func (f *follower) until() time.Duration {
	d := rare
	if f.eyes.blind() {
		d = slow
	}
	if !f.unsaved.IsZero() {
		d = min(d, keep-time.Since(f.unsaved))
	}
	if !f.replaced.IsZero() {
		d = min(d, settle-time.Since(f.replaced))
	}
	return max(d, time.Millisecond)
}

// pull reads on in the file and reports whether there was anything.
func (f *follower) pull(ctx context.Context) (more bool, err error) {
	b := make([]byte, chunk)
	n, err := f.file.ReadAt(b, f.at.Offset+int64(len(f.buf)))
	if n == 0 {
		if err != nil && !ended(err) {
			return false, fmt.Errorf("read %s: %w", f.File, err)
		}
		return false, nil
	}
	if same, err := f.begins(); !same || err != nil {
		return true, err
	}
	f.buf = append(f.buf, b[:n]...)
	return true, f.lines(ctx)
}

// lines puts the whole lines of the buffer into the spool and moves on behind them.
func (f *follower) lines(ctx context.Context) error {
	end := bytes.LastIndexByte(f.buf, '\n') + 1
	var bodies [][]byte
	for line := range bytes.Lines(f.buf[:end]) {
		if body := f.reading(line); body != nil {
			bodies = append(bodies, body)
		}
	}
	if err := f.put(ctx, bodies); err != nil {
		f.buf = f.buf[:0] // they are read again
		return err
	}
	f.pass(end)
	if len(f.buf) > lineLimit {
		f.at.Long = true
		f.pass(len(f.buf))
	}
	return nil
}

// reading is what a line becomes; nil where it is empty, or the end of one that was too long.
func (f *follower) reading(line []byte) []byte {
	if f.at.Long || len(line) > lineLimit {
		f.at.Long = false
		if f.skipped.Add(1) == 1 {
			f.Log.Warn("lines are skipped: they are too long", "file", f.File, "limit", lineLimit)
		}
		return nil
	}
	return f.format().reading(line)
}

func (t *Tail) format() Format {
	if t.Format == "" {
		return Auto
	}
	return t.Format
}

// pass moves the position behind the first n bytes of the buffer.
func (f *follower) pass(n int) {
	if n == 0 {
		return
	}
	f.buf = append(f.buf[:0], f.buf[n:]...)
	f.at.Offset += int64(n)
	if f.unsaved.IsZero() {
		f.unsaved = time.Now()
	}
}

// tell logs a change of what is wrong with the file.
func (f *follower) tell(err error) {
	switch {
	case err == nil && f.told != "":
		f.Log.Info("a file is followed again", "file", f.File)
		f.told = ""
	case err != nil && !fault.Stopped(err) && f.told != err.Error():
		f.Log.Warn("a file is not followed as it should be", "file", f.File, "err", err, "hint", fault.Hint(err))
		f.told = err.Error()
	}
}

func (f *follower) close() {
	if f.file != nil {
		_ = f.file.Close() // it was only read
	}
	f.file, f.buf, f.replaced = nil, nil, time.Time{}
}

// lose closes the file so that it is opened again at the same place.
func (f *follower) lose() {
	f.lost = f.lost || f.file != nil && !f.fifo
	f.know()
	f.close()
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
