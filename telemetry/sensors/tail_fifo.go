package sensors

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
)

// openFIFO opens the FIFO for both directions, so that it does not end when its last writer leaves (fifo(7)).
func (f *follower) openFIFO() error {
	file, err := os.OpenFile(f.File, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return fault.AskOperator(err, "let the agent's user read and write "+f.File+": a FIFO that is only read ends with each writer")
		}
		return err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return f.label(err)
	}
	f.close()
	f.file, f.fifo, f.at = file, true, place{Inode: inode(info)}
	return nil
}

// drain takes what is in the FIFO, or waits for it. From time to time it looks whether the FIFO is still the one that
// writers find.
func (f *follower) drain(ctx context.Context) error {
	b := make([]byte, chunk)
	n, err := awaitRead(ctx, f.file, rare, b)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if now, err := os.Stat(f.File); err != nil || inode(now) != f.at.Inode {
			f.close()
		}
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", f.File, err)
	}
	f.buf = append(f.buf, b[:n]...)
	if err := f.lines(ctx); err != nil {
		return err
	}
	if n < chunk {
		pause(ctx, gather)
	}
	return nil
}
