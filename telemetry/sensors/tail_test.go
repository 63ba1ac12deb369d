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
