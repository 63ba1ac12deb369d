package sensors

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

func TestFault46LineWithoutAnEndIsBounded(t *testing.T) {
	w := newTailing(t)
	w.write("one\n" + strings.Repeat("x", 1<<20) + "\n" + strings.Repeat("y", lineLimit-1) + "\ntwo\n")
	w.start().wants("one", "two") // the shelf takes no y, either
	w.end()
	if got := w.tail.Lines(); got.Taken != 2 || got.Skipped != 2 || strings.Count(w.log.String(), "too long") != 1 {
		t.Errorf("counted %+v, logged\n%s", got, &w.log)
	}
}

func TestSpoolThatIsFullHoldsTheFileBack(t *testing.T) {
	w := newTailing(t)
	w.refuse(fault.Later(spool.ErrFull, time.Millisecond))
	w.write("one\ntwo\n")
	w.start()
	for w.tail.Lines().Taken == 0 && len(w.ended) == 0 {
		w.refuse(nil)
		w.wants("one", "two")
	}
	w.end()
}

func TestSpoolPastHelpEndsTheTail(t *testing.T) {
	w := newTailing(t)
	w.refuse(fault.As(fault.Fatal, errors.New("sync: input/output error")))
	w.write("one\n")
	w.start()
	if err := <-w.ended; fault.Of(err) != fault.Fatal {
		t.Errorf("Run = %v", err)
	}
}

func TestFault46FIFOOutlivesItsWriters(t *testing.T) {
	w := newTailing(t)
	if err := syscall.Mkfifo(w.path, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	for _, line := range []string{"one\n", "tw", "o\nthree\n"} {
		w.write(line) // opens, writes and leaves
	}
	w.wants("one", "two", "three")
	w.end()
}

func TestBlindEyesLookByThemselves(t *testing.T) {
	w := newTailing(t)
	w.tail.File = filepath.Join(filepath.Dir(w.path), "later", "x.log")
	w.path = w.tail.File
	if e := open(w.path); !e.blind() { // its directory is not there
		t.Fatal("the eyes see a directory that does not exist")
	}
	w.start()
	if err := os.Mkdir(filepath.Dir(w.path), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("one\n")
	w.wants("one")
	w.end()
}

func TestFault29AFullDiskHoldsTheFileBackAndSkipsNoLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{ring: make(chan struct{}, 1)}
		s.err = fault.AskOperator(fmt.Errorf("append: %w", errors.Join(spool.ErrFull, syscall.ENOSPC)), "free some space")
		f := &follower{Tail: &Tail{File: "x.log", Stream: "x", Spool: s, Log: slog.New(slog.DiscardHandler)}}
		done := make(chan error, 1)
		go func() { done <- f.put(t.Context(), [][]byte{[]byte("one"), []byte("two")}) }()
		time.Sleep(time.Hour)
		s.mu.Lock()
		s.err = nil
		s.mu.Unlock()
		if err := <-done; err != nil || len(s.got) != 2 || f.Lines().Skipped != 0 {
			t.Errorf("%v: %q came, counted %+v", err, s.got, f.Lines())
		}
	})
}

func TestFault46ALineOfAGigabyteCostsTimeAndNoMemory(t *testing.T) {
	w := newTailing(t)
	w.write("one\n")
	if err := os.Truncate(w.path, 1<<30); err != nil { // a hole, which costs the disk nothing
		t.Fatal(err)
	}
	w.write("\ntwo\n")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w.start().wants("one", "two")
	w.end()
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 32<<20 {
		t.Errorf("%d bytes more are in use", grown)
	}
	if got := w.tail.Lines(); got.Skipped != 1 {
		t.Errorf("counted %+v", got)
	}
}
