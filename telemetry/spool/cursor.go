package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"

	"github.com/devid-agent/devid-agent/internal/durable"
)

const (
	cursorName = "cursor"
	slotBytes  = 64
	slotApart  = page // a write that tears one block leaves the other slot whole
)

var cursorMark = [4]byte{0x89, 'D', 'C', 'R'}

// position is what the spool has behind it. Losing it costs repeats, never a reading.
type position struct {
	acked   uint64 // all up to here are forgotten
	next    uint64 // all below were promised, or were lost: none of these numbers is given again
	dropped uint64
	damaged uint64
}

// cursor is the file that holds the position, in two slots that are written in turn.
//
// Only the slot that was not synced last is ever written to, so whatever a power cut leaves of it, the other is
// whole. The newest whole slot counts.
type cursor struct {
	mu         sync.Mutex // one write at a time; taken before the spool's own lock
	path       string
	step       durable.Step
	id         id
	file       *os.File
	slot       int64
	generation uint64
	saved      position // as it was written last
	synced     position // as it is known to be on the medium
}

// slot is one of the two copies.
type slot struct {
	generation uint64
	id         id
	position
}

func (t slot) append(b []byte) []byte {
	start := len(b)
	b = append(b, cursorMark[:]...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(b, t.id[:]...)
	for _, v := range []uint64{t.generation, t.acked, t.next, t.dropped, t.damaged} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func readSlot(b []byte) (t slot, ok bool) {
	sum := crc32.Checksum(b[:slotBytes-4], castagnoli)
	if !bytes.Equal(b[:4], cursorMark[:]) || sum != binary.LittleEndian.Uint32(b[slotBytes-4:]) {
		return t, false
	}
	t.id = id(b[8:16])
	for i, v := range []*uint64{&t.generation, &t.acked, &t.next, &t.dropped, &t.damaged} {
		*v = binary.LittleEndian.Uint64(b[16+8*i:])
	}
	return t, t.acked < t.next && t.next < highest
}

// load finds the newest whole slot; false when there is none, for whatever reason.
func (c *cursor) load() (best slot, found bool) {
	f, err := os.Open(c.path)
	if err != nil {
		return best, false
	}
	defer f.Close()
	for i := range int64(2) {
		var b [slotBytes]byte
		if _, err := f.ReadAt(b[:], i*slotApart); err != nil {
			continue
		}
		if t, ok := readSlot(b[:]); ok && (!found || t.generation > best.generation) {
			best, found, c.slot = t, true, 1-i
		}
	}
	return best, found
}

// adopt goes on from t, unless it is of another spool.
func (c *cursor) adopt(t slot) {
	c.generation, c.saved = t.generation, t.position
}

// save writes p, and when sync is asked for it is on the medium on return.
func (c *cursor) save(p position, sync bool) error {
	if c.file != nil && p == c.saved && (!sync || p == c.synced) {
		return nil
	}
	if err := c.step.At("ack", c.path); err != nil {
		return err
	}
	if err := c.write(p, sync); err != nil {
		c.close() // what the medium holds is unknown: the next save opens the file anew
		return label("write", c.path, err)
	}
	return c.step.At("acked", c.path)
}

func (c *cursor) write(p position, sync bool) error {
	if c.file == nil {
		if err := c.open(); err != nil {
			return err
		}
	}
	c.generation++
	b := slot{c.generation, c.id, p}.append(nil)
	if _, err := c.file.WriteAt(b, c.slot*slotApart); err != nil {
		return err
	}
	c.saved = p
	if !sync {
		return nil
	}
	if err := fdatasync(c.file); err != nil {
		return err
	}
	c.slot, c.synced = 1-c.slot, p
	return nil
}

// open makes the file in its full size where there is none, so that a disk that fills up later has room for it.
func (c *cursor) open() error {
	f, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil && info.Size() < 2*slotApart {
		err = grow(f, info.Size())
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	c.file = f
	return nil
}

func grow(f *os.File, from int64) error {
	if _, err := f.WriteAt(make([]byte, 2*slotApart-from), from); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.Name()))
}

func (c *cursor) close() {
	if c.file != nil {
		_ = c.file.Close()
		c.file = nil
	}
}
