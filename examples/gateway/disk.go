package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// disk is the board's disk, served to the emulator by NBD (the protocol's description is doc/proto.md of nbd). It has a
// volatile cache, as a real one: when the power goes, what was written and not yet flushed is there or not, each piece of
// 4 KB by the toss of a coin. A file system that forgets a barrier, or a program that forgets fdatasync, is found out by it.
type disk struct {
	file *os.File
	size int64

	mu      sync.Mutex
	trap    func() bool // asked when writes are about to be flushed: does the power go now?
	pending []change    // not flushed yet, in order
	written int64       // bytes
	flushes int
}

// piece is what a disk writes whole or not at all.
const piece = 4096

// change is one piece that may be undone.
type change struct {
	at       int64
	old, new []byte
}

func openDisk(path string) (*disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &disk{file: f, size: info.Size()}, nil
}

// cut is what a loss of power does to the disk. It returns how many pieces were kept and how many were forgotten.
func (d *disk) cut() (kept, forgotten int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.pending) - 1; i >= 0; i-- {
		if _, err := d.file.WriteAt(d.pending[i].old, d.pending[i].at); err != nil {
			return 0, 0, err
		}
	}
	for _, c := range d.pending {
		if rand.IntN(2) == 0 {
			forgotten++
			continue
		}
		kept++
		if _, err := d.file.WriteAt(c.new, c.at); err != nil {
			return 0, 0, err
		}
	}
	d.pending = nil
	return kept, forgotten, nil
}

// traffic is what the board has written so far.
func (d *disk) traffic() (bytes int64, flushes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written, d.flushes
}

func (d *disk) write(at int64, b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written += int64(len(b))
	for len(b) > 0 {
		n := min(len(b), piece)
		old := make([]byte, n)
		if _, err := d.file.ReadAt(old, at); err != nil {
			return err
		}
		if _, err := d.file.WriteAt(b[:n], at); err != nil {
			return err
		}
		d.pending = append(d.pending, change{at, old, b[:n]})
		at, b = at+int64(n), b[n:]
	}
	return nil
}

// flush makes durable what was written, unless the power goes in that moment.
func (d *disk) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.pending) > 0 && d.trap != nil && d.trap() {
		d.trap = nil
		return io.EOF
	}
	d.pending = nil
	d.flushes++
	return nil
}

// set lets the power go at a flush for which is says so.
func (d *disk) set(is func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trap = is
}

// serve answers each emulator that comes, until l is closed.
func (d *disk) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if err := d.session(conn); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			fmt.Fprintln(os.Stderr, "gateway: disk:", err)
		}
		_ = conn.Close()
	}
}

func (d *disk) session(conn net.Conn) error {
	in, out := bufio.NewReaderSize(conn, 1<<16), bufio.NewWriterSize(conn, 1<<16)
	if err := d.greet(in, out); err != nil {
		return err
	}
	for {
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if err := d.request(in, out); err != nil {
			return err
		}
	}
}

// Numbers of the protocol.
const (
	nbdMagic, nbdOption, nbdOptionReply  = 0x4e42444d41474943, 0x49484156454f5054, 0x3e889045565a9
	nbdRequest, nbdReply                 = 0x25609513, 0x67446698
	nbdExport, nbdAbort, nbdInfo, nbdGo  = 1, 2, 6, 7
	nbdAck, nbdInfoReply, nbdUnsupported = 1, 3, 1<<31 + 1
	nbdRead, nbdWrite, nbdBye, nbdFlush  = 0, 1, 2, 3
	nbdFixedNoZeroes                     = 1 | 2 // both sides know the newer handshake
	nbdFlags                             = 1 | 4 // flags are there; flush is understood
	nbdTooLong                           = 64 << 20
)

// greet agrees on the one export there is.
func (d *disk) greet(in *bufio.Reader, out *bufio.Writer) error {
	put(out, uint64(nbdMagic), uint64(nbdOption), uint16(nbdFixedNoZeroes))
	if err := out.Flush(); err != nil {
		return err
	}
	if _, err := in.Discard(4); err != nil { // the client's flags
		return err
	}
	for {
		var o struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(in, binary.BigEndian, &o); err != nil {
			return err
		}
		if o.Magic != nbdOption || o.Length > nbdTooLong {
			return errors.New("not an NBD option")
		}
		if _, err := in.Discard(int(o.Length)); err != nil {
			return err
		}
		switch o.Option {
		case nbdExport:
			put(out, uint64(d.size), uint16(nbdFlags))
			return out.Flush()
		case nbdInfo, nbdGo:
			put(out, uint64(nbdOptionReply), o.Option, uint32(nbdInfoReply), uint32(12), uint16(0), uint64(d.size), uint16(nbdFlags))
			put(out, uint64(nbdOptionReply), o.Option, uint32(nbdAck), uint32(0))
		case nbdAbort:
			return io.EOF
		default:
			put(out, uint64(nbdOptionReply), o.Option, uint32(nbdUnsupported), uint32(0))
		}
		if err := out.Flush(); err != nil || o.Option == nbdGo {
			return err
		}
	}
}

// request answers one.
func (d *disk) request(in *bufio.Reader, out *bufio.Writer) error {
	var r struct {
		Magic          uint32
		Flags, Command uint16
		Handle, At     uint64
		Length         uint32
	}
	if err := binary.Read(in, binary.BigEndian, &r); err != nil {
		return err
	}
	if r.Magic != nbdRequest || r.Length > nbdTooLong {
		return errors.New("not an NBD request")
	}
	b := make([]byte, r.Length)
	var err error
	switch r.Command {
	case nbdRead:
		if _, err = d.file.ReadAt(b, int64(r.At)); err == nil {
			put(out, uint32(nbdReply), uint32(0), r.Handle, b)
			return nil
		}
	case nbdWrite:
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		err = d.write(int64(r.At), b)
	case nbdFlush:
		if err := d.flush(); err != nil {
			return err
		}
	case nbdBye:
		return io.EOF
	default:
		err = fmt.Errorf("command %d", r.Command)
	}
	put(out, uint32(nbdReply), code(err), r.Handle)
	return nil
}

func code(err error) uint32 {
	if err != nil {
		return 5 // EIO
	}
	return 0
}

// put writes values in network order; an error is kept in out, and seen when it is flushed.
func put(out *bufio.Writer, values ...any) {
	for _, v := range values {
		_ = binary.Write(out, binary.BigEndian, v)
	}
}
