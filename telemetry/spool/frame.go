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
//	head   two equal halves of 32 bytes: mark 4, version 4, id 8, base 8, gap 4, CRC32C 4
//	frame  magic 4, CRC32C 4, seq 8, time 8 (ns since 1970), length of body 3, of stream 1, stream, body
//	       where the length of stream has its highest bit set: length of type 1 before stream, and type before body
//
// The release before does not know the gap, nor a frame with a type: it counts those readings as damaged, keeps
// their segment aside and goes on.
//
// The magic and the start value of the checksum come from the spool's random id. So a frame that some program
// sends as a body, or that a block of a deleted file brings back, is never taken for one of ours.
const (
	headHalf  = 32
	headSize  = 2 * headHalf
	version   = 1
	frameHead = 28
	maxFrame  = frameHead + 1 + maxStream + maxType + MaxBody

	typed = 0x80 // in the length of stream

	// A gap has two parts. The low bits say how many numbers before base were never on the medium.
	recycled = 1 << 31      // the file had another name before, and frames of lower numbers still
	anyGap   = recycled - 1 // all that are missing before base
)

// endMark ends what was written last to a recycled file, up to the next commit.
var endMark [8]byte

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

// appendFrame adds r to b. The record is taken to be acceptable.
func (k key) appendFrame(b []byte, r Record) []byte {
	start := len(b)
	b = append(b, k.magic[:]...)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, r.Seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	lengths := uint32(len(r.Body)) | uint32(len(r.Stream))<<24
	if r.Type != "" {
		b = binary.LittleEndian.AppendUint32(b, lengths|typed<<24)
		b = append(b, byte(len(r.Type)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, lengths)
	}
	b = append(b, r.Stream...)
	b = append(b, r.Type...)
	b = append(b, r.Body...)
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Update(k.seed, castagnoli, b[start+8:]))
	return b
}

func frameSize(r Record) int {
	n := frameHead + len(r.Stream) + len(r.Body)
	if r.Type != "" {
		n += 1 + len(r.Type)
	}
	return n
}

// layout says where in a frame its parts end.
type layout struct{ start, stream, kind, body int }

// layout reads the lengths in b, which is longer than a frame's head; false when no frame has them.
func (k key) layout(b []byte) (l layout, ok bool) {
	lengths := binary.LittleEndian.Uint32(b[24:])
	body, stream, kind := int(lengths&0xffffff), int(lengths>>24), 0
	l.start = frameHead
	if stream&typed != 0 {
		stream &^= typed
		kind = int(b[frameHead])
		l.start++
		ok = 0 < kind && kind <= maxType
	} else {
		ok = true
	}
	l.stream = l.start + stream
	l.kind = l.stream + kind
	l.body = l.kind + body
	return l, ok && body <= MaxBody && 0 < stream && stream <= maxStream
}

// measure says how long the frame at the start of b claims to be; false when there is none.
func (k key) measure(b []byte) (size int, ok bool) {
	if !bytes.Equal(b[:4], k.magic[:]) {
		return 0, false
	}
	l, ok := k.layout(b)
	return l.body, ok
}

// decode reads the frame that is exactly b and was measured; false when a bit of it is not as it was written.
// The record's body lies in b, and its words in those of like where they are the same.
func (k key) decode(b []byte, like Record) (Record, bool) {
	if crc32.Update(k.seed, castagnoli, b[8:]) != binary.LittleEndian.Uint32(b[4:]) {
		return Record{}, false
	}
	l, _ := k.layout(b)
	return Record{
		Seq:    binary.LittleEndian.Uint64(b[8:]),
		Time:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[16:]))),
		Stream: word(b[l.start:l.stream], like.Stream),
		Type:   word(b[l.stream:l.kind], like.Type),
		Body:   b[l.kind:len(b):len(b)],
	}, true
}

func word(b []byte, like string) string {
	if string(b) == like {
		return like
	}
	return string(b)
}

// head is the first bytes of a segment.
type head struct {
	version uint32
	id      id
	base    uint64
	gap     uint32
}

func (h head) append(b []byte) []byte {
	for range 2 {
		start := len(b)
		b = append(b, headMark[:]...)
		b = binary.LittleEndian.AppendUint32(b, h.version)
		b = append(b, h.id[:]...)
		b = binary.LittleEndian.AppendUint64(b, h.base)
		b = binary.LittleEndian.AppendUint32(b, h.gap)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	}
	return b
}

// readHead returns what the first good half of b says; false when neither is good.
func readHead(b []byte) (head, bool) {
	for ; len(b) >= headHalf; b = b[headHalf:] {
		sum := crc32.Checksum(b[:headHalf-4], castagnoli)
		if bytes.Equal(b[:4], headMark[:]) && sum == binary.LittleEndian.Uint32(b[headHalf-4:]) {
			return head{
				binary.LittleEndian.Uint32(b[4:]), id(b[8:16]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint32(b[24:]),
			}, true
		}
	}
	return head{}, false
}
