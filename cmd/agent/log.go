package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// newLog writes to w, and where that is a file of the system's it waits for nobody.
func newLog(c *Config, level slog.Leveler, w io.Writer) *slog.Logger {
	to := func(w io.Writer) *slog.Logger {
		o := &slog.HandlerOptions{Level: level}
		if c.Log.Format == "json" {
			return slog.New(slog.NewJSONHandler(w, o))
		}
		return slog.New(slog.NewTextHandler(w, o))
	}
	if f, ok := w.(*os.File); ok {
		plain := to(f)
		w = &hasty{file: f, tell: func(n int) { plain.Warn("lines of the log are lost: nobody took them", "lines", n) }}
	}
	return to(w)
}

// hasty gives up a line that is not taken at once, and counts it: a journal that has stalled must not hold up a reading.
// Pipes and sockets that say they take something take 4 KB. Its callers come one by one: a handler of slog sees to that.
type hasty struct {
	file *os.File
	tell func(lost int)
	lost int
}

func (h *hasty) Write(line []byte) (int, error) {
	asked := []unix.PollFd{{Fd: int32(h.file.Fd()), Events: unix.POLLOUT}}
	if n, err := unix.Poll(asked, 0); err == nil && n == 0 {
		h.lost++
		return len(line), nil
	}
	if lost := h.lost; lost > 0 {
		h.lost = 0
		h.tell(lost)
	}
	return h.file.Write(line)
}
