package process

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAProcessIsSeenWhileItLivesAndNotAfter(t *testing.T) {
	cmd, err := Start(filepath.Join(t.TempDir(), "log"), nil, "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	if !Lives(cmd) {
		t.Error("it does not live")
	}
	if s, err := Look(cmd.Process.Pid); err != nil || s.Peak < s.Steady || s.At.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	Kill(cmd)
	if Lives(cmd) {
		t.Error("it lives on")
	}
	if _, err := Look(cmd.Process.Pid); err == nil {
		t.Error("a process that has ended was looked at")
	}
	Kill(cmd)
	Kill(nil) // nobody is there to kill
}

func TestWhatAProgramSaysIsKept(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	for range 2 {
		cmd, err := Start(log, []string{"WORD=hello"}, "sh", "-c", "echo $WORD >&2")
		if err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
	if got := Tail(log); got != "hello\nhello\n" {
		t.Errorf("it has said %q", got)
	}
}

func TestWhatAThreadOfOursWritesAndBurnsIsCounted(t *testing.T) {
	before, err := Look(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	words := slices.Repeat([]string{"b", "a"}, 1<<18)
	slices.Sort(words)
	if after, err := Look(os.Getpid()); err != nil || after.Since(before).CPU <= 0 || after.Since(before).Steady != after.Steady {
		t.Errorf("%+v after %+v, %v", after, before, err)
	}
}

func TestAFieldIsTheNumberBehindItsWholeName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(file, []byte("VmRSSx:\t1 kB\nVmRSS:\t  42 kB\nEmpty:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"VmRSS:": 42, "VmRSSx:": 1, "VmHWM:": 0, "Empty:": 0} {
		if got := Field(file, name); got != want {
			t.Errorf("%s is %d, want %d", strings.TrimSuffix(name, ":"), got, want)
		}
	}
	if Field(file+".none", "VmRSS:") != 0 {
		t.Error("a file that is not there has a field")
	}
}
