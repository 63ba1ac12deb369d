package sensors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// shelf is a spool in memory that rings for each reading.
type shelf struct {
	mu   sync.Mutex
	got  []string
	err  error
	ring chan struct{}
}

func (s *shelf) Append(ctx context.Context, stream string, body []byte) (uint64, error) {
	return s.Put(ctx, spool.Reading{Stream: stream, Body: body})
}

func (s *shelf) Put(_ context.Context, readings ...spool.Reading) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	for _, r := range readings {
		if len(r.Body) > 60_000 {
			return 0, fault.As(fault.Permanent, spool.ErrTooLarge)
		}
	}
	for _, r := range readings {
		s.got = append(s.got, string(r.Body))
	}
	select {
	case s.ring <- struct{}{}:
	default:
	}
	return uint64(len(s.got)), nil
}

func (s *shelf) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// await returns once the shelf holds n readings.
func (s *shelf) await(t *testing.T, n int) []string {
	t.Helper()
	late := time.After(time.Minute)
	for {
		if got := s.all(); len(got) >= n {
			return got
		}
		select {
		case <-s.ring:
		case <-late:
			t.Fatalf("%d readings, want %d: %q", len(s.all()), n, s.all())
		}
	}
}

// tailing is a file that is followed.
type tailing struct {
	*testing.T
	*shelf
	tail  *Tail
	path  string
	log   logged
	stop  context.CancelFunc
	ended chan error
}

func newTailing(t *testing.T) *tailing {
	dir := t.TempDir()
	place, err := durable.Open(filepath.Join(dir, "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &tailing{T: t, shelf: &shelf{ring: make(chan struct{}, 1)}, path: filepath.Join(dir, "meter.log")}
	w.tail = &Tail{File: w.path, Stream: "meter", FromStart: true, Spool: w.shelf, Place: place}
	return w
}

// logged is a log that is written and read side by side.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// awaitLog returns once the log has these words.
func (w *tailing) awaitLog(words string) {
	w.Helper()
	for late := time.Now().Add(time.Minute); !strings.Contains(w.log.String(), words); {
		if time.Now().After(late) {
			w.Fatalf("not logged: %s\n%s", words, &w.log)
		}
		runtime.Gosched()
	}
}

func (w *tailing) start() *tailing {
	w.Helper()
	ctx, stop := context.WithCancel(w.Context())
	w.tail.Log = slog.New(slog.NewTextHandler(&w.log, nil))
	w.stop, w.ended = stop, make(chan error, 1)
	ended := w.ended
	go func() { ended <- w.tail.Run(ctx) }()
	w.Cleanup(stop)
	return w
}

func (w *tailing) end() {
	w.Helper()
	w.stop()
	if err := <-w.ended; !errors.Is(err, context.Canceled) {
		w.Errorf("Run = %v", err)
	}
}

func (w *tailing) write(text string) {
	w.Helper()
	file, err := os.OpenFile(w.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = file.WriteString(text)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *tailing) wants(want ...string) {
	w.Helper()
	for i, line := range want {
		if line[0] != '{' {
			want[i] = fmt.Sprintf(`{"line":%q}`, line)
		}
	}
	if got := w.await(w.T, len(want)); !slices.Equal(got, want) {
		w.Errorf("readings %q, want %q", got, want)
	}
}

func TestEachLineOfAFileIsAReading(t *testing.T) {
	w := newTailing(t)
	w.write("{\"a\": 1}\ntemp=21.5 on=true\r\nDoor open: 7 times\n\n\x00\x00\x00\nhalf a")
	w.start().wants(`{"a": 1}`, `{"on":true,"temp":21.5}`, "Door open: 7 times")
	w.write(" line\n")
	w.wants(`{"a": 1}`, `{"on":true,"temp":21.5}`, "Door open: 7 times", "half a line")
	w.end()
}

func TestFileThatComesLaterIsReadFromItsStart(t *testing.T) {
	w := newTailing(t)
	w.tail.FromStart = false
	w.start()
	w.awaitLog("not there yet")
	w.write("first\n")
	w.wants("first")
	w.end()
}

func TestWhatWasInTheFileBeforeIsHistoryUnlessAskedFor(t *testing.T) {
	w := newTailing(t)
	w.tail.FromStart = false
	w.write("history\nunfin")
	w.start()
	for late := time.Now().Add(time.Minute); ; { // its position is kept as soon as it is opened
		if _, err := w.tail.Place.Read((&follower{Tail: w.tail}).placeName()); err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal("the file is not opened")
		}
	}
	w.write("ished\nnew\n")
	w.wants("unfinished", "new")
	w.end()
}

func TestRestartGoesOnWhereItWas(t *testing.T) {
	w := newTailing(t)
	w.write("one\ntwo\nthr")
	w.start().wants("one", "two")
	w.end()
	w.write("ee\nfour\n")
	w.start().wants("one", "two", "three", "four")
	w.end()
}

func TestCrashRepeatsLinesAndLosesNone(t *testing.T) {
	w := newTailing(t)
	w.write("one\n")
	w.start().wants("one")
	w.end()
	before, err := w.tail.Place.Read((&follower{Tail: w.tail}).placeName())
	if err != nil {
		t.Fatal(err)
	}
	w.write("two\n")
	w.start().wants("one", "two")
	w.end()
	if err := w.tail.Place.Write((&follower{Tail: w.tail}).placeName(), before); err != nil { // the cut came before the second was written
		t.Fatal(err)
	}
	w.start().wants("one", "two", "two")
	w.end()
}

func TestRenamedFileIsReadToItsEndAndThenTheNew(t *testing.T) {
	w := newTailing(t)
	w.write("one\n")
	w.start().wants("one")
	if err := os.Rename(w.path, w.path+".1"); err != nil {
		t.Fatal(err)
	}
	old := &tailing{T: t, path: w.path + ".1"}
	old.write("two\n") // the writer has not noticed yet
	w.write("four\n")
	old.write("three")
	w.wants("one", "two", "three", "four")
	w.end()
}

func TestFileThatWasRotatedWhileTheAgentWasDownIsReadToItsEnd(t *testing.T) {
	w := newTailing(t)
	w.write("one\n")
	w.start().wants("one")
	w.end()
	w.write("two\n")
	if err := os.Rename(w.path, w.path+".1"); err != nil {
		t.Fatal(err)
	}
	w.write("three\n")
	w.start().wants("one", "two", "three")
	w.end()
	if err := errors.Join(os.Remove(w.path+".1"), os.Remove(w.path)); err != nil {
		t.Fatal(err)
	}
	w.write("another\n")
	w.start().wants("one", "two", "three", "another")
	w.end()
	if !strings.Contains(w.log.String(), "lines may be missing") {
		t.Errorf("that lines may be missing is not told:\n%s", &w.log)
	}
}

func TestFileThatWasRenamedAndHasNoSuccessorIsReadToItsEnd(t *testing.T) {
	w := newTailing(t)
	w.write("one\n")
	w.start().wants("one")
	w.end()
	w.write("two\n")
	if err := os.Rename(w.path, w.path+".1"); err != nil {
		t.Fatal(err)
	}
	w.start().wants("one", "two")
	w.write("three\n")
	w.wants("one", "two", "three")
	w.end()
}

func TestTruncatedFileIsReadFromItsStart(t *testing.T) {
	w := newTailing(t)
	w.write("one\ntwo\n")
	w.start().wants("one", "two")
	if err := os.WriteFile(w.path, []byte("3\n"), 0o600); err != nil { // copytruncate
		t.Fatal(err)
	}
	w.wants("one", "two", "3")
	w.end()
	if err := os.WriteFile(w.path, []byte("longer than all that was there before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start().wants("one", "two", "3", "longer than all that was there before")
	w.end()
}

func TestLineWithoutAnEndIsBounded(t *testing.T) {
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

func TestFIFOOutlivesItsWriters(t *testing.T) {
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
