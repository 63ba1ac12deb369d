package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
)

const (
	segmentSuffix = ".seg"
	asideSuffix   = ".bad" // after .seg: kept for a person to look at, and the first to go when room is needed
	poisonSuffix  = ".poison"
	nameDigits    = 20

	// highest is beyond any number that is ever given: what claims more is damaged.
	highest = 1 << 62
)

// segment is one file of the queue. It holds the numbers from base up to the next segment's base.
type segment struct {
	base uint64
	path string
	size int64 // the bytes that may hold frames
	disk int64 // the bytes that the file takes
	lost bool  // numbers were found missing in it

	gap   uint32 // as in its head
	known bool   // gap is
	mend  bool   // its head is to be written again
	clean bool   // made in this life, and no write to it failed: the numbers in it are known
}

func segmentName(base uint64) string { return fmt.Sprintf("%0*d%s", nameDigits, base, segmentSuffix) }

// inventory is what lies in the directory.
type inventory struct {
	segments []*segment // oldest first
	aside    []*segment
	poison   []*segment // oldest first
}

// list reads the directory and nothing else. A directory that is not there is an empty one.
func list(dir string) (inv inventory, err error) {
	entries, err := os.ReadDir(dir) // sorted by name, and so by base
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return inv, label("list", dir, err)
	}
	for _, e := range entries {
		g := &segment{path: filepath.Join(dir, e.Name())}
		to := &inv.segments
		name, aside := strings.CutSuffix(e.Name(), asideSuffix)
		digits, poison := strings.CutSuffix(name, poisonSuffix)
		switch {
		case aside:
			to = &inv.aside
		case poison:
			to, name = &inv.poison, digits+segmentSuffix
		}
		var ok bool
		if g.base, ok = parseName(name); !ok {
			continue
		}
		if info, err := e.Info(); err == nil {
			g.size, g.disk = info.Size(), info.Size()
		}
		*to = append(*to, g)
	}
	return inv, nil
}

func parseName(name string) (base uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != nameDigits {
		return 0, false
	}
	base, err := strconv.ParseUint(digits, 10, 64)
	return base, err == nil && 0 < base && base < highest
}

// readHead returns the segment's head; false when it has no good one. An error says that it could not be
// looked at, and nothing about what it holds.
func (g *segment) readHead() (h head, ok bool, err error) {
	f, err := os.Open(g.path)
	if err != nil {
		if unreadable(err) {
			return h, false, nil
		}
		return h, false, label("open", g.path, err)
	}
	defer f.Close()
	b := make([]byte, headSize)
	h, ok = readHead(b[:salvage(f, b, 0)])
	return h, ok, nil
}

func newer(path string, v uint32) error {
	return fault.AskOperator(fmt.Errorf("open %s: written in format %d, this release reads %d", path, v, version),
		"install the release that wrote it, or move the spool's directory away")
}
