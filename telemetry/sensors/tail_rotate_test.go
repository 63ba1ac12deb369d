package sensors

import (
	"errors"
	"os"
	"strings"
	"testing"
)

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
