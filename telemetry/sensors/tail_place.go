package sensors

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// place is a position in a file, and which file that is: its inode, and how it begins, since inodes are used again.
type place struct {
	File   string `json:"file"` // for people
	Inode  uint64 `json:"inode"`
	Offset int64  `json:"offset"`
	Head   string `json:"head"`           // a hash of its first bytes
	Known  int64  `json:"known"`          // how many those are
	Long   bool   `json:"long,omitempty"` // Offset is within a line that is skipped
}

// headBytes is how much of its beginning a file is known by.
const headBytes = 256

func (f *follower) placeName() string {
	sum := sha256.Sum256([]byte(f.File))
	return hex.EncodeToString(sum[:8]) + ".json"
}

// save writes the position to the medium, after the readings before it.
func (f *follower) save() error {
	if f.unsaved.IsZero() || f.Place == nil || f.file == nil || f.fifo {
		return nil
	}
	if _, err := f.begins(); err != nil {
		return err
	}
	f.know()
	body, err := json.Marshal(f.at)
	if err != nil {
		return fmt.Errorf("position in %s: %w", f.File, err)
	}
	// A cut before this is through leaves the position before: lines are read again.
	if err := f.Place.Write(f.placeName(), body); err != nil {
		return fmt.Errorf("position in %s: %w", f.File, err)
	}
	f.unsaved = time.Time{}
	return nil
}

// recall is the position on the medium. One that cannot be read is told, and is none.
func (f *follower) recall() (at place, ok bool) {
	if f.Place == nil {
		return at, false
	}
	body, err := f.Place.Read(f.placeName())
	if err == nil {
		err = json.Unmarshal(body, &at)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Log.Warn("the position in a file is lost", "file", f.File, "err", err)
	}
	return at, err == nil && at.Offset >= 0
}

// headOf is how the file begins, up to offset.
func headOf(file io.ReaderAt, offset int64) ([]byte, error) {
	b := make([]byte, min(offset, headBytes))
	n, err := file.ReadAt(b, 0)
	if err != nil && !ended(err) {
		return nil, err
	}
	return b[:n], nil
}

func sum(head []byte) string {
	h := sha256.Sum256(head)
	return hex.EncodeToString(h[:8])
}

// know notes in the position which file it is in.
func (f *follower) know() {
	f.at.File, f.at.Head, f.at.Known = f.File, sum(f.head), int64(len(f.head))
}

// begins reports whether the file begins as it did, and starts it anew where it does not: it was truncated, and has grown
// beyond the position since.
func (f *follower) begins() (bool, error) {
	now, err := headOf(f.file, int64(len(f.head)))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", f.File, err)
	}
	if !bytes.Equal(now, f.head) {
		f.restart()
		return false, nil
	}
	if int64(len(f.head)) < min(f.at.Offset, headBytes) {
		f.head, err = headOf(f.file, f.at.Offset)
	}
	return true, err
}

// open opens the file where it was left: at its place, in a file that was rotated since, or at its start.
func (f *follower) open() error {
	info, err := os.Stat(f.File)
	if errors.Is(err, fs.ErrNotExist) {
		return f.wait(err)
	}
	if err != nil {
		return f.label(err)
	}
	if info.Mode().Type() == fs.ModeNamedPipe {
		return f.openFIFO()
	}
	if !info.Mode().IsRegular() {
		return fault.AskOperator(fmt.Errorf("%s is neither a file nor a FIFO", f.File), "name the file itself")
	}
	if !f.met {
		f.met = true
		if at, ok := f.recall(); ok {
			return f.resume(at)
		}
		return f.first()
	}
	if f.lost {
		f.lost = false
		return f.resume(f.at)
	}
	return f.begin(f.File, place{})
}

// wait is for a file that is not there: one that comes is all new. Where it was followed before and was renamed since, its
// rest comes first.
func (f *follower) wait(absent error) error {
	if f.met {
		return absent
	}
	f.met = true
	if at, ok := f.recall(); ok {
		if found, err := f.find(at); found {
			return err
		}
	}
	f.Log.Info("a file to follow is not there yet", "file", f.File)
	return absent
}

// begin opens the file at path at this position.
func (f *follower) begin(path string, at place) error {
	file, err := os.Open(path)
	if err != nil {
		return f.label(err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return f.label(err)
	}
	head, err := headOf(file, at.Offset)
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("read %s: %w", f.File, err)
	}
	f.close()
	at.Inode = inode(info)
	f.file, f.fifo, f.at, f.head = file, false, at, head
	if f.eyes.events == nil {
		f.eyes = open(f.File) // its directory may be there now
	}
	f.eyes.watch(file)
	return nil
}

// first opens a file that was never followed before. What is in it already is history, unless it was asked for.
func (f *follower) first() error {
	if err := f.begin(f.File, place{}); err != nil {
		return err
	}
	f.unsaved = time.Now()
	if f.FromStart {
		return nil
	}
	info, err := f.file.Stat()
	if err != nil {
		return f.label(err)
	}
	f.at.Offset = info.Size()
	f.at.Offset -= int64(f.unfinished())
	if f.head, err = headOf(f.file, f.at.Offset); err != nil {
		return f.label(err)
	}
	return f.save()
}

// unfinished is how many bytes the last line has already, where its end is not written yet: then it is all new.
func (f *follower) unfinished() int {
	b := make([]byte, min(f.at.Offset, lineLimit))
	n, _ := f.file.ReadAt(b, f.at.Offset-int64(len(b)))
	return n - 1 - strings.LastIndexByte(string(b[:n]), '\n')
}

// resume goes on at a place of a life before. Where the file was renamed since, its rest comes first.
func (f *follower) resume(at place) error {
	if found, err := f.find(at); found {
		return err
	}
	f.Log.Warn("a file was rotated away while nobody read it: lines may be missing", "file", f.File)
	f.unsaved = time.Now()
	return f.begin(f.File, place{})
}

// find opens the file of the place, under its name or a longer one, and reports whether there is one.
func (f *follower) find(at place) (bool, error) {
	if f.is(f.File, at) {
		return true, f.begin(f.File, at)
	}
	dir, base := filepath.Split(f.File)
	beside, _ := os.ReadDir(dir) // what cannot be listed holds nothing to be found
	for _, e := range beside {
		if strings.HasPrefix(e.Name(), base) && f.is(dir+e.Name(), at) {
			return true, f.begin(dir+e.Name(), at)
		}
	}
	return false, nil
}

// is reports whether the file at path is the one of the place.
func (f *follower) is(path string, at place) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || inode(info) != at.Inode || info.Size() < at.Offset {
		return false
	}
	head, err := headOf(file, min(at.Known, at.Offset))
	return err == nil && sum(head) == at.Head
}

// label says what a person can do about err.
func (f *follower) label(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.AskOperator(err, "let the agent's user read "+f.File+": a group of both, or an ACL (setfacl -m u:devid-agent:r)")
	}
	return err
}

func ended(err error) bool { return errors.Is(err, io.EOF) }

func inode(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
