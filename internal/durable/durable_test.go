package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

func open(t *testing.T, path string, step Step) *Dir {
	t.Helper()
	d, err := Open(path, step)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWriteIsReadBackAfterAReboot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := open(t, path, nil).Write("a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	b, err := open(t, path, nil).Read("a")
	if string(b) != "1" || err != nil {
		t.Errorf("Read = %q, %v", b, err)
	}
	if info, _ := os.Stat(filepath.Join(path, "a")); info.Mode() != 0o600 {
		t.Errorf("mode %v, want only the owner to read it", info.Mode())
	}
}

func TestOnlyAbsenceIsAbsence(t *testing.T) {
	d := open(t, t.TempDir(), nil)
	if _, err := d.Read("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of nothing: %v", err)
	}
	if err := os.Mkdir(d.File("dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read("dir"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of a directory: %v", err)
	}
}

var errCut = errors.New("power cut")

// cutter counts the steps and fails from the n-th on. As a power cut may, it tears what was not synced and undoes
// a rename whose directory was not synced.
type cutter struct {
	n, seen int
	undo    func(verb, path string)
}

func (c *cutter) step(verb, path string) error {
	c.seen++
	if c.seen < c.n {
		return nil
	}
	if c.seen == c.n && c.undo != nil {
		c.undo(verb, path)
	}
	return errCut
}

func TestAPowerCutLeavesTheOldOrTheNew(t *testing.T) {
	for n := 1; ; n++ {
		path := t.TempDir()
		if err := open(t, path, nil).Write("a", []byte("old")); err != nil {
			t.Fatal(err)
		}
		c := &cutter{n: n, undo: func(verb, path string) {
			switch verb {
			case "wrote":
				_ = os.Truncate(path, 1)
			case "renamed":
				_ = os.WriteFile(path, []byte("old"), 0o600)
			}
		}}
		err := open(t, path, c.step).Write("a", []byte("new"))
		if err == nil {
			if c.seen < 6 {
				t.Errorf("a Write asked only %d times", c.seen)
			}
			return
		}
		d := open(t, path, nil)
		b, readErr := d.Read("a")
		if readErr != nil || string(b) != "old" && string(b) != "new" {
			t.Errorf("cut at step %d: %q, %v", n, b, readErr)
		}
		if names, _ := d.Names(); len(names) != 1 {
			t.Errorf("cut at step %d left %v", n, names)
		}
	}
}

func TestRenameReplacesAndRemoveForgives(t *testing.T) {
	d := open(t, t.TempDir(), nil)
	for name, body := range map[string]string{"pending": "new", "current": "old"} {
		if err := d.Write(name, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Rename("pending", "current"); err != nil {
		t.Fatal(err)
	}
	if b, _ := d.Read("current"); string(b) != "new" {
		t.Errorf("current = %q", b)
	}
	for range 2 {
		if err := d.Remove("current"); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	if names, _ := d.Names(); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

func TestAFullOrReadOnlyDiskAsksForAPerson(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EACCES} {
		err := Label("write", "/state/a", &fs.PathError{Op: "open", Path: "/state/a", Err: cause})
		if fault.Of(err) != fault.Operator || fault.Hint(err) == "" || !errors.Is(err, cause) {
			t.Errorf("%v: %v (%v), hint %q", cause, err, fault.Of(err), fault.Hint(err))
		}
		if strings.Count(err.Error(), "/state/a") != 1 {
			t.Errorf("the path is not said once: %v", err)
		}
	}
}

func TestAWriteThatDoesNotFitLeavesTheOldAndNoRest(t *testing.T) {
	d := open(t, t.TempDir(), nil)
	if err := d.Write("a", []byte("old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.File("a"+temporary), 0o700); err != nil { // so that the temporary file cannot be made
		t.Fatal(err)
	}
	if err := d.Write("a", []byte("new")); err == nil {
		t.Fatal("Write reports success")
	}
	if b, _ := d.Read("a"); string(b) != "old" {
		t.Errorf("a = %q", b)
	}
}

func TestLookCleansNothingUp(t *testing.T) {
	path := t.TempDir()
	tmp := filepath.Join(path, "a"+temporary)
	if err := os.WriteFile(tmp, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	Look(path)
	if _, err := os.Stat(tmp); err != nil {
		t.Error("Look removed what its owner is writing")
	}
	open(t, path, nil)
	if _, err := os.Stat(tmp); err == nil {
		t.Error("Open left what a power cut had left")
	}
}
