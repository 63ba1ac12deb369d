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
	moreBytes  = 80   // behind a slot, for this release
	slotApart  = page // a write that tears one block leaves the other slot whole
)

var (
	cursorMark = [4]byte{0x89, 'D', 'C', 'R'}
	moreMark   = [4]byte{0x89, 'D', 'C', 'M'}
)

// position is what the spool has behind it. Losing it costs repeats, never a reading.
type position struct {
	acked    uint64 // all up to here are forgotten
	written  uint64 // all below are on the medium, or were, unless memory alone had them
	dropped  uint64
	damaged  uint64
	expired  uint64
	refused  uint64
	poisoned uint64
}

// stored is how far what is on the medium is forgotten.
func (p position) stored() uint64 { return min(p.acked, max(p.written, 1)-1) }

// cursor is the file that holds the position, in two slots that are written in turn.
//
// Only the slot that was not synced last is ever written to, so whatever a power cut leaves of it, the other is
// whole. The newest whole slot counts.
type cursor struct {
	mu         sync.Mutex // one write at a time; taken before the spool's own lock
	path       string
	step       durable.Step
	meter      *meter
	id         id
	ahead      uint64 // how many numbers are noted as given before they are
	file       *os.File
	slot       int64
	generation uint64
	saved      position // as it was written last
	synced     position // as it is known to be on the medium
	reserved   uint64   // the numbers below are never given again, as the medium knows
}

// slot is one of the two copies.
type slot struct {
	generation uint64
	id         id
	position
	more
}

// more is what the release before knows nothing of. It lies behind the slot and has a checksum of its own.
type more struct {
	reserved   uint64
	day, spent int64
}

func (t slot) append(b []byte) []byte {
	start := len(b)
	b = append(b, cursorMark[:]...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = append(b, t.id[:]...)
	for _, v := range []uint64{t.generation, t.acked, max(t.written, t.acked+1), t.dropped, t.damaged} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return t.appendMore(b)
}

func (t slot) appendMore(b []byte) []byte {
	start := len(b)
	b = append(b, moreMark[:]...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, t.id[:]...)
	for _, v := range []uint64{
		t.generation, t.written, t.expired, t.refused, t.poisoned, t.reserved, uint64(t.day), uint64(t.spent),
	} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[start+8:], castagnoli))
	return b
}

func readSlot(b []byte) (t slot, ok bool) {
	sum := crc32.Checksum(b[:slotBytes-4], castagnoli)
	if !bytes.Equal(b[:4], cursorMark[:]) || sum != binary.LittleEndian.Uint32(b[slotBytes-4:]) {
		return t, false
	}
	t.id = id(b[8:16])
	for i, v := range []*uint64{&t.generation, &t.acked, &t.written, &t.dropped, &t.damaged} {
		*v = binary.LittleEndian.Uint64(b[16+8*i:])
	}
	return t, t.acked < t.written && t.written < highest
}

// readMore reads what follows a slot. It may be older than the slot, when the release before wrote that.
func readMore(b []byte) (t slot, ok bool) {
	if !bytes.Equal(b[:4], moreMark[:]) || crc32.Checksum(b[8:], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return t, false
	}
	t.id = id(b[8:16])
	day, spent := uint64(0), uint64(0)
	for i, v := range []*uint64{&t.generation, &t.written, &t.expired, &t.refused, &t.poisoned, &t.reserved, &day, &spent} {
		*v = binary.LittleEndian.Uint64(b[16+8*i:])
	}
	t.day, t.spent = int64(day), int64(spent)
	return t, t.written < highest && t.reserved < highest
}

// load finds the newest whole slot; false when there is none, for whatever reason.
func (c *cursor) load() (best slot, found bool) {
	f, err := os.Open(c.path)
	if err != nil {
		return best, false
	}
	defer f.Close()
	var also []slot
	for i := range int64(2) {
		var b [slotBytes + moreBytes]byte
		if n, _ := f.ReadAt(b[:], i*slotApart); n < slotBytes {
			continue
		}
		if t, ok := readMore(b[slotBytes:]); ok {
			also = append(also, t)
		}
		if t, ok := readSlot(b[:]); ok && (!found || t.generation > best.generation) {
			best, found, c.slot = t, true, 1-i
		}
	}
	best.complete(also)
	return best, found
}

// complete adds to t what it says more itself, or else what the newest of the others said: the release before, or
// damage, may have left only that.
func (t *slot) complete(also []slot) {
	var from slot
	for _, o := range also {
		if o.id == t.id && o.generation <= t.generation && o.generation >= from.generation {
			from = o
		}
	}
	t.more, t.expired, t.refused, t.poisoned = from.more, from.expired, from.refused, from.poisoned
	if from.generation == t.generation {
		t.written = from.written
	}
}

// adopt goes on from t, unless it is of another spool.
func (c *cursor) adopt(t slot) {
	c.generation, c.saved, c.reserved = t.generation, t.position, t.reserved
	c.meter.resume(t.day, t.spent)
}

// save writes p, and when sync is asked for it is on the medium on return, and so is that the numbers up to next, and
// some ahead, are given. Without sync there is nothing to write while only what memory held was acknowledged.
func (c *cursor) save(p position, next uint64, sync bool) error {
	short := c.ahead > 0 && next+c.ahead/2 > c.reserved || c.ahead == 0 && next < c.reserved
	switch {
	case !sync && p.stored() == c.saved.stored():
		return nil
	case sync && c.file != nil && p == c.saved && p == c.synced && !short:
		return nil
	}
	if err := c.step.At("ack", c.path); err != nil {
		return err
	}
	if err := c.write(p, next+c.ahead, sync); err != nil {
		c.close() // what the medium holds is unknown: the next save opens the file anew
		c.saved = position{}
		return label("write", c.path, err)
	}
	return c.step.At("acked", c.path)
}

func (c *cursor) write(p position, reserved uint64, sync bool) error {
	if c.file == nil {
		if err := c.open(); err != nil {
			return err
		}
	}
	c.generation++
	_, day, spent := c.meter.now()
	b := slot{c.generation, c.id, p, more{reserved, day, spent}}.append(nil)
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
	c.slot, c.synced, c.reserved = 1-c.slot, p, reserved
	c.meter.add(0, page)
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
