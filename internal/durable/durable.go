// Package durable is a directory whose changes survive a power cut.
//
// When a method returns nil, its change is on the medium: the file's bytes and the directory entry. When the
// power fails in a method, the next Open finds the directory as it was before or as it was to become, and
// removes the temporary file that may be left; there is no third state.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
)

// Step is asked before ("write", "rename", "remove", "sync") and after ("wrote", "renamed", "removed", "synced")
// each change of the medium, with the file's path. An error ends the operation there, as a power cut does.
// It is the seam through which a test cuts the power; a nil Step never objects.
type Step func(verb, path string) error

// At asks the step, if there is one.
func (s Step) At(verb, path string) error {
	if s == nil {
		return nil
	}
	return s(verb, path)
}

const temporary = ".tmp~"

// Dir is an open directory. Its methods are not to be called side by side for the same name.
type Dir struct {
	path string
	step Step
}

// Open makes the directory (mode 0700) where it does not exist and removes temporary files that a power cut left.
func Open(path string, step Step) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, label("open", path, err)
	}
	d := &Dir{path: path, step: step}
	names, err := d.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, temporary) {
			if err := d.Remove(name); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

// Look is the directory at path as it is, for reading beside its owner: it makes nothing and cleans nothing up.
func Look(path string) *Dir { return &Dir{path: path} }

// Path is the directory's own path.
func (d *Dir) Path() string { return d.path }

// File is the path of name in the directory.
func (d *Dir) File(name string) string { return filepath.Join(d.path, name) }

// Names lists the files in the directory, sorted.
func (d *Dir) Names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, label("list", d.path, err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Read returns the content of name. Only an error that is fs.ErrNotExist means that there is none.
func (d *Dir) Read(name string) ([]byte, error) {
	b, err := os.ReadFile(d.File(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, label("read", d.File(name), err)
	}
	return b, err
}

// Write puts b under name (mode 0600), replacing what was there. A power cut leaves the old content or the new:
// open(tmp) write fsync(tmp) | rename(tmp, name) | fsync(dir).
func (d *Dir) Write(name string, b []byte) error {
	tmp := d.File(name + temporary)
	if err := d.step.At("write", d.File(name)); err != nil {
		return err
	}
	if err := writeSynced(tmp, b); err != nil {
		_ = os.Remove(tmp) // a full disk must not keep the bytes that did not fit
		return label("write", d.File(name), err)
	}
	// A cut here leaves the temporary file: Open removes it.
	if err := d.step.At("wrote", tmp); err != nil {
		return err
	}
	return d.Rename(name+temporary, name)
}

// Rename moves from over to, replacing it. A power cut leaves either both as they were or only to, renewed.
func (d *Dir) Rename(from, to string) error {
	if err := d.step.At("rename", d.File(to)); err != nil {
		return err
	}
	if err := os.Rename(d.File(from), d.File(to)); err != nil {
		return label("rename", d.File(from), err)
	}
	// A cut here may undo the rename: the caller has not been told that it happened.
	if err := d.step.At("renamed", d.File(to)); err != nil {
		return err
	}
	return d.sync()
}

// Remove deletes name; a name that does not exist is fine.
func (d *Dir) Remove(name string) error {
	if err := d.step.At("remove", d.File(name)); err != nil {
		return err
	}
	if err := os.Remove(d.File(name)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return label("remove", d.File(name), err)
	}
	if err := d.step.At("removed", d.File(name)); err != nil {
		return err
	}
	return d.sync()
}

func (d *Dir) sync() error {
	if err := d.step.At("sync", d.path); err != nil {
		return err
	}
	if err := SyncDir(d.path); err != nil {
		return err
	}
	return d.step.At("synced", d.path)
}

// SyncDir returns once the entries of the directory at path are on the medium.
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return label("open", path, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		// After a failed fsync nobody knows what is on the medium, and asking again may answer "fine".
		return fault.As(fault.Fatal, fmt.Errorf("sync %s: %w", path, err))
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// label says what a person can do about err, where that is known.
func label(verb, path string, err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // the path is said once
	}
	wrapped := fmt.Errorf("%s %s: %w", verb, path, err)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.AskOperator(wrapped, "free some space on the file system of "+path)
	case errors.Is(err, syscall.EROFS):
		return fault.AskOperator(wrapped, "remount the file system of "+path+" read-write, or put the state directory (device.state) on one that is")
	case errors.Is(err, fs.ErrPermission):
		return fault.AskOperator(wrapped, "give "+path+" to the user that runs devid-agent: chown devid-agent: "+path)
	}
	return wrapped
}

// Label gives err, from doing verb to path, the kind and the remedy that its cause calls for: a full disk, a
// read-only one, a missing permission. A nil err stays nil.
func Label(verb, path string, err error) error {
	if err == nil {
		return nil
	}
	return label(verb, path, err)
}
