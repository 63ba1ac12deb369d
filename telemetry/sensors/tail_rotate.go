package sensors

import (
	"context"
	"os"
	"time"
)

// look sees at the end of the file whether it goes on, was truncated, or is another one by now. again means that there is
// something to read.
func (f *follower) look(ctx context.Context) (again bool, err error) {
	own, err := f.file.Stat()
	if err != nil {
		return false, f.label(err)
	}
	if own.Size() < f.at.Offset+int64(len(f.buf)) {
		f.restart()
		return own.Size() > 0, nil
	}
	now, err := os.Stat(f.File)
	if err != nil || inode(now) == inode(own) {
		f.replaced = time.Time{}
		return false, nil // one that is gone is read on until there is another
	}
	if f.replaced.IsZero() {
		f.replaced = time.Now()
	}
	if time.Since(f.replaced) < settle {
		return false, nil
	}
	return true, f.next(ctx)
}

func (f *follower) restart() {
	f.Log.Info("a file was truncated: it is read from its start", "file", f.File)
	f.at.Offset, f.at.Long, f.buf, f.head, f.unsaved = 0, false, nil, nil, time.Now()
}

// next leaves a file that was replaced for the one that is there now. A last line without an end is one.
func (f *follower) next(ctx context.Context) error {
	if len(f.buf) > 0 {
		f.buf = append(f.buf, '\n')
		if err := f.lines(ctx); err != nil {
			return err
		}
	}
	f.unsaved = time.Now()
	return f.begin(f.File, place{})
}
