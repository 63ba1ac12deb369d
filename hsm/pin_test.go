package hsm_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm"
	"github.com/devid-agent/devid-agent/hsm/hsmtest"
)

func TestARefusedPINIsNeverTriedAgain(t *testing.T) {
	bad, _ := hsmtest.Hostile(t, "LOCK")
	bad.SetPIN("wrong-1")
	for range 4 { // restarts
		s := bad.Open(t, bad.Config())
		for range 3 {
			_, err := s.Names(t.Context())
			wantWords(t, err, "log in to token", bad.PINFile)
			if fault.Of(err) != fault.Operator {
				t.Errorf("%v is %v", err, fault.Of(err))
			}
		}
	}
	if n := bad.Count("logins"); n != 1 {
		t.Errorf("the PIN was tried %d times, want once", n)
	}
	bad.SetPIN(hsmtest.PIN)
	create(t, bad.Open(t, bad.Config()), "device-g1")
}

func TestTheLastTryIsNeverSpent(t *testing.T) {
	bad, _ := hsmtest.Hostile(t, "LOCK")
	s := bad.Open(t, bad.Config())
	for _, pin := range []string{"wrong-1", "wrong-2", "wrong-3", "wrong-4", hsmtest.PIN} {
		bad.SetPIN(pin)
		_, err := s.Names(t.Context())
		if err == nil {
			t.Errorf("%s opened the token", pin)
		}
		if bad.Count("wrong") == 2 && strings.HasPrefix(pin, "wrong-3") {
			wantWords(t, err, "one wrong PIN more locks the token", "CKF_USER_PIN_FINAL_TRY")
		}
	}
	if n := bad.Count("logins"); n != 2 {
		t.Errorf("%d tries, want 2 of 3", n)
	}
}

func TestALockedTokenIsSaidToBeLocked(t *testing.T) {
	bad, _ := hsmtest.Hostile(t, "LOCK")
	if err := os.WriteFile(filepath.Join(filepath.Dir(bad.PINFile), "wrong"), []byte("3"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := bad.Open(t, bad.Config())
	for range 2 {
		_, err := s.Names(t.Context())
		wantWords(t, err, "the token's user PIN is locked")
	}
	if n := bad.Count("logins"); n != 0 {
		t.Errorf("%d tries", n)
	}
}

func TestAHelperThatDiesOverAPINHasOneMoreTryAndNoThird(t *testing.T) {
	t.Parallel()
	bad, _ := hsmtest.Hostile(t, "MUTE")
	c := bad.Config()
	c.Deadline = 2 * time.Second
	for range 3 {
		_, err := bad.Open(t, c).Names(t.Context())
		if err == nil {
			t.Error("it did answer")
		}
	}
	if n := bad.Count("logins"); n != 2 {
		t.Errorf("%d tries, want 2", n)
	}
	_, err := bad.Open(t, c).Names(t.Context())
	wantWords(t, err, "never said whether this PIN is right")
}

func TestAPINIsNotTriedWhenTheTryCannotBeWrittenDown(t *testing.T) {
	bad, _ := hsmtest.Hostile(t)
	c := bad.Config()
	full := true
	c.Step = func(verb, path string) error {
		if full && verb == "write" {
			return &fs.PathError{Op: verb, Path: path, Err: syscall.ENOSPC}
		}
		return nil
	}
	s := bad.Open(t, c)
	if _, err := s.Names(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("names: %v", err)
	}
	if n := bad.Count("logins"); n != 0 {
		t.Errorf("%d tries", n)
	}
	full = false
	if _, err := s.Names(t.Context()); err != nil {
		t.Error(err)
	}
	// The PIN is known to be right now: a full disk keeps nobody out any more.
	full = true
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Names(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADamagedMemoryOfTriesIsLoud(t *testing.T) {
	token := hsmtest.Start(t)
	path := filepath.Join(token.StateDir, "pin-tries.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := token.Open(t, token.Config()).Names(t.Context())
	wantWords(t, err, path, "damaged")
}

func TestAPINFileIsRefusedInWords(t *testing.T) {
	token := hsmtest.Start(t)
	for what, c := range map[string]struct {
		content string
		mode    os.FileMode
		words   string
	}{
		"world-readable": {hsmtest.PIN, 0o644, "everybody on this machine can open it"},
		"world-writable": {hsmtest.PIN, 0o602, "everybody"},
		"empty":          {"\n", 0o600, "a PIN is one line"},
		"two lines":      {"1\n2\n", 0o600, "a PIN is one line"},
		"too long":       {strings.Repeat("1", 257), 0o600, "a PIN is one line"},
	} {
		path := filepath.Join(t.TempDir(), "pin")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		config := token.Config()
		config.PIN = path
		err := token.Open(t, config).Ping(t.Context())
		wantWords(t, err, path, c.words)
		if fault.Of(err) != fault.Operator {
			t.Errorf("%s: %v", what, fault.Of(err))
		}
	}
	config := token.Config()
	config.PIN = "/nowhere/pin"
	wantWords(t, token.Open(t, config).Ping(t.Context()), "/nowhere/pin: no such file")
	config = token.Config()
	config.URI, _, _ = strings.Cut(config.URI, "&pin-source")
	wantWords(t, token.Open(t, config).Ping(t.Context()), "wants a PIN")
}

func TestAPINFileMayEndInANewlineOrNot(t *testing.T) {
	token := hsmtest.Start(t)
	for _, end := range []string{"", "\n", "\r\n"} {
		path := filepath.Join(t.TempDir(), "pin")
		if err := os.WriteFile(path, []byte(hsmtest.PIN+end), 0o640); err != nil {
			t.Fatal(err)
		}
		c := token.Config()
		c.PIN = path
		if err := token.Open(t, c).Ping(t.Context()); err != nil {
			t.Errorf("%q: %v", end, err)
		}
	}
}

// ledger is everything that anybody may come to read.
type ledger struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *ledger) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The module prints the PIN wherever it can, and the token takes it or not.
func TestThePINIsInNoArtefact(t *testing.T) {
	for _, pin := range []string{hsmtest.PIN, "canary-wrong"} {
		bad, _ := hsmtest.Hostile(t, "CHATTY", "SEGFAULT", "FROM=5")
		bad.SetPIN(pin)
		artefacts := &ledger{}
		c := bad.Config()
		c.Log = slog.New(slog.NewJSONHandler(artefacts, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s := bad.Open(t, c)
		key, err := s.Create(t.Context(), "device-g1")
		fmt.Fprintf(artefacts, "%v %+v %q\n", err, err, fault.Hint(err))
		if pid := s.Health().PID; pid != 0 {
			for _, name := range []string{"cmdline", "environ"} {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
				if err != nil && !errors.Is(err, fs.ErrPermission) {
					t.Fatal(err)
				}
				fmt.Fprintf(artefacts, "%s\n", b)
			}
		}
		for err == nil {
			err = sign(key)
		}
		fmt.Fprintf(artefacts, "%v %+v %#v\n", err, err, c)
		keepFiles(t, artefacts, c)
		if !strings.Contains(artefacts.String(), "login with [PIN]") {
			t.Errorf("the module's words are not in the log:\n%s", artefacts)
		}
		for _, canary := range []string{pin, hex.EncodeToString([]byte(pin)), "canary-", "73519"} {
			if i := strings.Index(artefacts.String(), canary); i >= 0 {
				t.Errorf("%q is in\n%s", canary, artefacts.String()[max(0, i-300):i+50])
			}
		}
	}
}

func keepFiles(t *testing.T, to *ledger, c hsm.Config) {
	t.Helper()
	err := filepath.WalkDir(c.StateDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(to, "%s\n%s\n", path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAPersonIsAskedWhereThereIsNoFile(t *testing.T) {
	token := hsmtest.Start(t)
	c := token.Config()
	c.URI, _, _ = strings.Cut(c.URI, "&pin-source")
	answer := hsmtest.PIN
	c.Ask = func(token string) ([]byte, error) {
		if token != "devid test" {
			t.Errorf("asked for the PIN of %q", token)
		}
		return []byte(answer), nil
	}
	s := token.Open(t, c)
	verify(t, create(t, s, "device-g1"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	answer = "canary-wrong"
	_, err := s.Names(t.Context())
	wantWords(t, err, "CKR_PIN_INCORRECT")
	_, err = s.Names(t.Context())
	wantWords(t, err, "not tried again")
}
