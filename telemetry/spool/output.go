package spool

import (
	"os"
	"path/filepath"

	"github.com/devid-agent/devid-agent/internal/durable"
)

const (
	smallCommit = page     // commits up to this size are padded for
	maxPadding  = 64 << 10 // at a time
)

// output is the segment that is written to.
type output struct {
	*segment
	file *os.File
	end  int64 // of what was promised
	room int64 // the length of the file
}

// create makes the segment that begins with base. Its head comes with the first commit.
func (s *Spool) create(base uint64) (*output, error) {
	if err := makeDir(s.dir); err != nil {
		return nil, err
	}
	if err := s.settle(true); err != nil {
		return nil, err
	}
	if err := s.vacate(base); err != nil {
		return nil, err
	}
	g := &segment{base: base, path: filepath.Join(s.dir, segmentName(base))}
	if err := s.step.At("create", g.path); err != nil {
		return nil, err
	}
	// A file of this name holds nothing that was promised: else base would be higher.
	f, err := os.OpenFile(g.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, label("create", g.path, err)
	}
	if err := s.step.At("created", g.path); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &output{segment: g, file: f}, nil
}

// vacate gives the name of a segment that holds no reading to its successor. When there is something in it that
// cannot be read, it is kept aside.
func (s *Spool) vacate(base uint64) error {
	s.mu.Lock()
	var last *segment
	if n := len(s.segs); n > 0 && s.segs[n-1].base == base {
		last = s.segs[n-1]
	}
	torn := s.torn > 0
	s.mu.Unlock()
	if last == nil {
		return nil
	}
	if torn {
		return s.setAside(last)
	}
	s.forgetSegment(last)
	return nil
}

// write puts the frames on the medium.
func (o *output) write(frames []byte, h head, limit int64, step durable.Step) error {
	first := o.end == 0
	if first {
		frames = append(h.append(make([]byte, 0, headSize+len(frames))), frames...)
	}
	if err := step.At("append", o.path); err != nil {
		return err
	}
	b := o.padded(frames, limit)
	if _, err := o.file.WriteAt(b, o.end); err != nil {
		if full(err) {
			_ = o.file.Truncate(o.end) // a full disk must not keep the bytes that did not fit
		}
		return label("append to", o.path, err)
	}
	// A cut here leaves readings that were not promised, or parts of them: the next Open takes what is whole.
	if err := step.At("written", o.path); err != nil {
		return err
	}
	if err := o.sync(first); err != nil {
		return err
	}
	o.room = max(o.room, o.end+int64(len(b)))
	o.end += int64(len(frames))
	return step.At("appended", o.path)
}

func (o *output) sync(first bool) error {
	if err := fdatasync(o.file); err != nil {
		return label("append to", o.path, err)
	}
	if first {
		return syncDir(filepath.Dir(o.path))
	}
	return nil
}

// padded adds zeros to a small commit that makes the file longer, as much as the file has already. The commits
// that follow then change the file's bytes and not its length, which spares the file system's journal: a lone
// reading costs the flash a third, and takes half the time.
func (o *output) padded(frames []byte, limit int64) []byte {
	end := o.end + int64(len(frames))
	if end <= o.room || len(frames) > smallCommit {
		return frames
	}
	room := end + min(end, maxPadding)
	room = min((room+page-1)/page*page, max(limit, end))
	return append(frames[:len(frames):len(frames)], make([]byte, room-end)...)
}
