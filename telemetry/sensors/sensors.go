// Package sensors is what the agent can measure by itself: the machine through /proc and /sys, field sensors that the
// kernel has a driver for, what a command prints, and what others write into a file or FIFO.
//
// Numbers are JSON numbers with their unit in the name. Counters count since boot, as the kernel does.
package sensors

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/telemetry"
)

// Machine is where to look.
type Machine struct {
	Root     string                                              // holds proc and sys; "" is /
	Statfs   func(path string, to *syscall.Statfs_t) (err error) // of a mount point; nil is the kernel's
	Adjtimex func(to *syscall.Timex) (state int, err error)      // the state of the clock; nil is the kernel's

	SMART func(controller string, log []byte) error // of an NVMe controller; nil is the kernel's

	crew *crew // of one source
}

func (m Machine) filled() Machine {
	m.Root = cmp.Or(m.Root, "/")
	if m.Statfs == nil {
		m.Statfs = syscall.Statfs
	}
	if m.Adjtimex == nil {
		m.Adjtimex = syscall.Adjtimex
	}
	if m.SMART == nil {
		m.SMART = readSMART
	}
	m.crew = &crew{}
	return m
}

// Pick returns the sources of this machine that are called so; the usual ones when there are no names.
func Pick(names ...string) []telemetry.Source { return Machine{}.Pick(names...) }

// Pick returns the sources of m that are called so; when there are no names, those that tell of the machine itself. Field
// sensors are read only when they are named: others may be using them.
func (m Machine) Pick(names ...string) []telemetry.Source {
	var picked []telemetry.Source
	for _, s := range all {
		if len(names) == 0 && !s.field || slices.Contains(names, s.name) {
			picked = append(picked, source{s.name, s.read, m.filled()})
		}
	}
	return picked
}

// Names lists the sources that Pick knows.
func Names() []string {
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	return names
}

var all = []struct {
	name  string
	read  func(context.Context, Machine) *found
	field bool // not of the machine itself
}{
	{"thermal", thermal, false}, {"hwmon", hwmon, false}, {"load", load, false}, {"memory", memory, false}, {"disk", disk, false},
	{"network", network, false}, {"uptime", uptime, false}, {"pressure", pressure, false}, {"clock", clock, false},
	{"kernel", kernel, false}, {"iio", iio, true}, {"w1", w1, true},
}

type source struct {
	name    string
	read    func(context.Context, Machine) *found
	machine Machine
}

func (s source) Name() string { return s.name }

func (s source) Read(ctx context.Context) (map[string]any, error) {
	return s.read(ctx, s.machine).answer(ctx)
}

// answer is what a source returns.
func (f *found) answer(ctx context.Context) (map[string]any, error) {
	if err := errors.Join(append(f.errs, ctx.Err())...); err != nil {
		return f.values, err
	}
	if len(f.values) == 0 {
		return nil, telemetry.ErrNoData
	}
	return f.values, nil
}

// found is what a source has found: values, and errors of the parts that are there and broken.
type found struct {
	values map[string]any
	errs   []error
	names  map[string]bool // given away
}

func nothing() *found { return &found{values: map[string]any{}} }

// broken keeps err unless it only says that there is nothing to read.
func (f *found) broken(err error) {
	if err != nil && !absent(err) {
		f.errs = append(f.errs, err)
	}
}

// absent tells what is not there from what is broken: a device that sleeps or has no value yet is not there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODATA) || errors.Is(err, syscall.ENXIO) ||
		errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EOPNOTSUPP)
}

// name is a key that no part has had: parts that are called the same are name, name_2, name_3 … in their order. It is
// taken before the part is read: one that is broken today must not lend its name to the next.
func (f *found) name(name string) string {
	if f.names == nil {
		f.names = map[string]bool{}
	}
	key := name
	for n := 2; f.names[key]; n++ {
		key = name + "_" + strconv.Itoa(n)
	}
	f.names[key] = true
	return key
}

func (m Machine) path(elements ...string) string {
	return filepath.Join(append([]string{m.Root}, elements...)...)
}

// text is the content of a small file, without the white space around it.
func (m Machine) text(elements ...string) (string, error) { return read(m.path(elements...)) }

func read(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// integer is the number in a small file.
func (m Machine) integer(elements ...string) (int64, error) {
	s, err := m.text(elements...)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		return 0, &fs.PathError{Op: "parse", Path: m.path(elements...), Err: err}
	}
	return n, nil
}

// entries lists a directory, numbers in the order of numbers; an absent one is empty.
func (m Machine) entries(f *found, elements ...string) []string {
	list, err := os.ReadDir(m.path(elements...))
	f.broken(err)
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, e.Name())
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return names
}

// numbers reads the words at these places of a line; a word that is none fails the line.
func numbers(words []string, places map[string]int) (map[string]any, error) {
	values := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		if places[name] >= len(words) {
			return nil, errors.New("the line is too short for " + name)
		}
		n, err := strconv.ParseUint(words[places[name]], 10, 64)
		if err != nil {
			return nil, err
		}
		values[name] = n
	}
	return values, nil
}
