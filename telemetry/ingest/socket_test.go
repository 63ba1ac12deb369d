package ingest

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

const noSpace = syscall.ENOSPC

// cannotServe runs a server that must refuse to, and returns why.
func cannotServe(t *testing.T, path string) error {
	t.Helper()
	s := &Server{Path: path, Spool: &shelf{}, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	stop() // should it serve after all, it ends at once
	return s.Run(ctx)
}

func TestSocketHasItsModeFromTheFirstMoment(t *testing.T) {
	for mode, want := range map[fs.FileMode]fs.FileMode{0: 0o660, 0o600: 0o600, 0o666: 0o666} {
		path := filepath.Join(shortDir(t), "ingest.sock")
		var born fs.FileMode
		l, err := door{path: path, mode: mode}.listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err == nil {
			born = info.Mode().Perm()
		}
		_ = l.Close()
		if born != want {
			t.Errorf("mode %04o makes a socket with %04o", mode, born)
		}
	}
}

// The chmod after bind hides what bind alone does, so bind alone is looked at.
func TestSocketIsNeverOpenerThanItsMode(t *testing.T) {
	path := filepath.Join(shortDir(t), "ingest.sock")
	l, err := (&net.ListenConfig{Control: born(0o600)}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&^0o600 != 0 {
		t.Errorf("born as %v (%v)", info.Mode(), err)
	}
}

func TestStaleSocketIsReplacedAndServes(t *testing.T) {
	path := filepath.Join(shortDir(t), "ingest.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as SIGKILL leaves it
	_ = dead.Close()
	w := serve(t, &Server{Path: path, Spool: &shelf{}})
	if got := w.post(t, "boiler", "1"); got.status != 200 {
		t.Errorf("%+v", got)
	}
}

func TestSocketOfALivingServerIsLeftAlone(t *testing.T) {
	w := serve(t, &Server{Spool: &shelf{}})
	err := cannotServe(t, w.Path)
	if fault.Of(err) != fault.Operator || !strings.Contains(err.Error(), "another program") || fault.Hint(err) == "" {
		t.Errorf("the second server says %v (%s)", err, fault.Hint(err))
	}
	if got := w.post(t, "boiler", "1"); got.status != 200 {
		t.Errorf("the first server afterwards: %+v", got)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(shortDir(t), "ingest.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := cannotServe(t, path)
	if fault.Of(err) != fault.Operator || fault.Hint(err) == "" {
		t.Errorf("Run = %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file is %q now", b)
	}
}

func TestSocketThatCannotBeIsForAPerson(t *testing.T) {
	dir := shortDir(t)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cannotServe(t, filepath.Join(dir, strings.Repeat("x", 120))); fault.Of(err) != fault.Operator || !strings.Contains(fault.Hint(err), "107") {
		t.Errorf("a long path: %v (%s)", err, fault.Hint(err))
	}
	if err := cannotServe(t, filepath.Join(dir, "file", "ingest.sock")); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a path through a file: %v", err)
	}
}

func TestStopRemovesTheSocketAndRunMayBeCalledAgain(t *testing.T) {
	spool := &shelf{}
	w := serve(t, &Server{Spool: spool})
	w.post(t, "boiler", "1")
	w.stop()
	if err := <-w.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if _, err := os.Lstat(w.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket after the stop: %v", err)
	}
	again := serve(t, w.Server)
	if got := again.post(t, "boiler", "2"); got.Seq != 2 {
		t.Errorf("%+v", got)
	}
}
