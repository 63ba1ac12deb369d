package spool

import (
	"os"
	"path/filepath"

	"github.com/devid-agent/devid-agent/internal/durable"
)

const (
	// journal is what ext4 writes beside a commit into blocks that nobody wrote before: a descriptor, the inode, and the
	// end of the transaction.
	journal = 3 * page

	smallCommit = journal  // commits up to this size are padded for
	maxPadding  = 64 << 10 // at a time
	largeCommit = 4 * page // commits from this size on end with a page
)

// output is the segment that is written to.
type output struct {
	*segment
	meter *meter
	file  *os.File
	end   int64 // of what was promised
	room  int64 // the length of the file
}

// write puts the frames on the medium.
func (o *output) write(frames []byte, h head, limit int64, step durable.Step) error {
	first := o.end == 0
	if first {
		frames = append(h.append(make([]byte, 0, headSize+len(frames)+page)), frames...)
	}
	zeros := o.rest(len(frames), limit)
	frames = append(frames, make([]byte, zeros)...)
	if err := step.At("append", o.path); err != nil {
		return err
	}
	b := o.padded(frames, limit)
	if zeros == 0 {
		b = o.closed(b)
	}
	if _, err := o.file.WriteAt(b, o.end); err != nil {
		o.undo(err)
		return label("append to", o.path, err)
	}
	// A cut here leaves readings that were not promised, or parts of them: the next Open takes what is whole.
	if err := step.At("written", o.path); err != nil {
		return err
	}
	if err := o.sync(first); err != nil {
		return err
	}
	o.meter.add(o.end, int64(len(b)))
	if o.end+int64(len(b)) > o.room {
		o.meter.add(0, journal)
	}
	o.room = max(o.room, o.end+int64(len(b)))
	o.end += int64(len(frames))
	return step.At("appended", o.path)
}

// undo gives back what a full disk took of a write that did not fit.
func (o *output) undo(err error) {
	if !full(err) {
		return
	}
	if o.end == 0 {
		_ = os.Remove(o.path)
		return
	}
	_ = o.file.Truncate(o.end)
}

func (o *output) sync(first bool) error {
	if err := fdatasync(o.file); err != nil {
		return label("append to", o.path, err)
	}
	if first {
		o.meter.add(0, page)
		return syncDir(filepath.Dir(o.path))
	}
	return nil
}

// roomFor is how long the file is after a commit of n bytes.
//
// A small commit that makes the file longer brings zeros with it, as much as the file has already. The commits
// that follow then change the file's bytes and not its length, which spares the file system's journal: a lone
// reading costs the flash a third, and takes half the time.
func (o *output) roomFor(n int, limit int64) int64 {
	end := o.end + int64(n) + o.rest(n, limit)
	if end <= o.room || n > smallCommit {
		return max(o.room, end)
	}
	room := end + min(end, maxPadding)
	return min((room+page-1)/page*page, max(limit, end))
}

// rest is how many zeros follow a commit of n bytes. After a large one they fill the page, which the next commit would
// otherwise write again: a medium takes no less than a page. Whoever reads passes over them.
func (o *output) rest(n int, limit int64) int64 {
	end := o.end + int64(n)
	zeros := (page - end%page) % page
	if n < largeCommit || zeros < int64(len(endMark)) || end+zeros > limit {
		return 0
	}
	return zeros
}

func (o *output) padded(frames []byte, limit int64) []byte {
	end := o.end + int64(len(frames))
	room := o.roomFor(len(frames), limit)
	if room <= max(o.room, end) {
		return frames
	}
	return append(frames[:len(frames):len(frames)], make([]byte, room-end)...)
}

// closed adds the end mark that keeps what a recycled file holds apart from what was torn.
func (o *output) closed(b []byte) []byte {
	if o.gap&recycled == 0 {
		return b
	}
	n := min(int64(len(endMark)), o.room-o.end-int64(len(b)))
	return append(b[:len(b):len(b)], endMark[:max(0, n)]...)
}
