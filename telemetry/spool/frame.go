package spool

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"time"
)

// A segment is a head and frames, all numbers little endian.
//
//	head   two equal halves of 32 bytes: mark 4, version 4, id 8, base 8, zero 4, CRC32C 4
//	frame  magic 4, CRC32C 4, seq 8, time 8 (ns since 1970), length of body 3, of stream 1, stream, body
//
// The magic and the start value of the checksum come from the spool's random id. So a frame that some program
// sends as a body, or that a block of a deleted file brings back, is never taken for one of ours.
const (
	headHalf  = 32
	headSize  = 2 * headHalf
	version   = 1
	frameHead = 28
	maxFrame  = frameHead + maxStream + MaxBody
)

var (
	headMark   = [4]byte{0x89, 'D', 'S', 'G'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// id names a spool for good. It is drawn when the spool is made.
type id [8]byte

func (i id) String() string { return hex.EncodeToString(i[:]) }

// key is what frames of one spool are recognised by.
type key struct {
	magic [4]byte
	seed  uint32
}

func newKey(i id) key {
	k := key{seed: crc32.Checksum(i[:], castagnoli)}
	binary.LittleEndian.PutUint32(k.magic[:], crc32.ChecksumIEEE(i[:]))
	return k
}

// appendFrame adds r to b. The stream and the body are taken to be acceptable.
func (k key) appendFrame(b []byte, r Record) []byte {
	start := len(b)
	b = append(b, k.magic[:]...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, r.Seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Body))|uint32(len(r.Stream))<<24)
	b = append(b, r.Stream...)
	b = append(b, r.Body...)
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Update(k.seed, castagnoli, b[start+8:]))
	return b
}

func frameSize(r Record) int { return frameHead + len(r.Stream) + len(r.Body) }

// measure says how long the frame at the start of b claims to be; false when there is none.
func (k key) measure(b []byte) (size int, ok bool) {
	if !bytes.Equal(b[:4], k.magic[:]) {
		return 0, false
	}
	lengths := binary.LittleEndian.Uint32(b[24:])
	body, stream := int(lengths&0xffffff), int(lengths>>24)
	return frameHead + stream + body, body <= MaxBody && 0 < stream && stream <= maxStream
}

// decode reads the frame that is exactly b; false when a bit of it is not as it was written.
// The record's body lies in b.
func (k key) decode(b []byte) (Record, bool) {
	if crc32.Update(k.seed, castagnoli, b[8:]) != binary.LittleEndian.Uint32(b[4:]) {
		return Record{}, false
	}
	body := frameHead + int(b[27])
	return Record{
		Seq:    binary.LittleEndian.Uint64(b[8:]),
		Time:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[16:]))),
		Stream: string(b[frameHead:body]),
		Body:   b[body:len(b):len(b)],
	}, true
}

// head is the first bytes of a segment.
type head struct {
	version uint32
	id      id
	base    uint64
}

func (h head) append(b []byte) []byte {
	for range 2 {
		start := len(b)
		b = append(b, headMark[:]...)
		b = binary.LittleEndian.AppendUint32(b, h.version)
		b = append(b, h.id[:]...)
		b = binary.LittleEndian.AppendUint64(b, h.base)
		b = append(b, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	}
	return b
}

// readHead returns what the first good half of b says; false when neither is good.
func readHead(b []byte) (head, bool) {
	for ; len(b) >= headHalf; b = b[headHalf:] {
		sum := crc32.Checksum(b[:headHalf-4], castagnoli)
		if bytes.Equal(b[:4], headMark[:]) && sum == binary.LittleEndian.Uint32(b[headHalf-4:]) {
			return head{binary.LittleEndian.Uint32(b[4:]), id(b[8:16]), binary.LittleEndian.Uint64(b[16:])}, true
		}
	}
	return head{}, false
}
