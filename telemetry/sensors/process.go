package sensors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/devid-agent/devid-agent/telemetry"
)

// task is what /proc/PID/stat says of a process (proc_pid_stat(5)).
type task struct {
	pid     int
	name    string // its first 15 bytes
	state   string
	ticks   uint64 // of processor time
	threads uint64
	started uint64 // ticks after boot
	pages   uint64 // resident
}

// states are the letters of proc_pid_stat(5).
var states = map[string]string{
	"R": "running", "S": "sleeping", "D": "waiting", "Z": "zombie", "T": "stopped", "t": "traced", "I": "idle", "X": "dead",
}

// parseTask reads a line of /proc/PID/stat. The name is in brackets and may hold brackets itself.
func parseTask(line string) (t task, err error) {
	pid, rest, ok := strings.Cut(line, " (")
	end := strings.LastIndex(rest, ") ")
	if !ok || end < 0 {
		return t, fmt.Errorf("%s is no line of a process", quote(line))
	}
	words := strings.Fields(rest[end+2:])
	n, err := numbers(words, map[string]int{"user": 11, "system": 12, "threads": 17, "started": 19, "pages": 21})
	if err != nil {
		return t, fmt.Errorf("parse stat: %w", err)
	}
	if t.pid, err = strconv.Atoi(pid); err != nil {
		return t, fmt.Errorf("parse stat: %w", err)
	}
	t.name, t.state = rest[:end], cmp.Or(states[words[0]], words[0])
	t.ticks, t.threads = n["user"].(uint64)+n["system"].(uint64), n["threads"].(uint64)
	t.started, t.pages = n["started"].(uint64), n["pages"].(uint64)
	return t, nil
}

// task is the process with this number; absent where it has ended meanwhile.
func (m Machine) task(pid string) (task, error) {
	line, err := m.text("proc", pid, "stat")
	if err != nil {
		return task{}, err
	}
	return parseTask(line)
}

// watch is a source that follows things by name from read to read.
type watch struct {
	kind    string
	machine Machine
	names   []string
	read    func(context.Context, *watch) *found
	seen    map[string]*life
}

// life is the start of a thing as it was last seen, and how often it was another one since.
type life struct{ started, restarts uint64 }

func (w *watch) Name() string { return w.kind }

func (w *watch) Read(ctx context.Context) (map[string]any, error) { return w.read(ctx, w).answer(ctx) }

func (m Machine) watch(kind string, names []string, read func(context.Context, *watch) *found) (telemetry.Source, error) {
	if len(names) == 0 {
		return nil, errors.New(kind + ": no names")
	}
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
			return nil, fmt.Errorf("%s: %s is no name of one", kind, quote(name))
		}
	}
	return &watch{kind: kind, machine: m.filled(), names: names, read: read, seen: map[string]*life{}}, nil
}

// restarts counts how often the thing has had another start, since the first time it was seen.
func (w *watch) restarts(name string, started uint64) uint64 {
	l := w.seen[name]
	if l == nil {
		l = &life{started: started}
		w.seen[name] = l
	}
	if l.started != started {
		l.started = started
		l.restarts++
	}
	return l.restarts
}

// Processes watches the programs that are called so: as the kernel calls them, which is the file's name without its
// directory. A program of several processes is as old as the oldest of them.
func (m Machine) Processes(names ...string) (telemetry.Source, error) {
	return m.watch("process", names, processes)
}

func processes(ctx context.Context, w *watch) *found {
	f, m := nothing(), w.machine
	running := map[string][]task{}
	list := m.entries(f, "proc")
	for _, pid := range list {
		if pid[0] < '1' || pid[0] > '9' || ctx.Err() != nil {
			continue
		}
		t, err := m.task(pid)
		if errors.Is(err, os.ErrNotExist) || gone(err) {
			continue // it has ended
		}
		f.broken(err)
		if name := w.watches(t); err == nil && name != "" {
			running[name] = append(running[name], t)
		}
	}
	if len(list) == 0 {
		return f
	}
	for _, name := range w.names {
		f.values[name] = w.tell(name, running[name])
	}
	return f
}

// watches is the name under which t is watched; "" where it is not.
func (w *watch) watches(t task) string {
	for _, name := range w.names {
		if t.name == name {
			return name
		}
		if len(name) > 15 && t.name == name[:15] {
			line, _ := w.machine.text("proc", strconv.Itoa(t.pid), "cmdline")
			if program, _, _ := strings.Cut(line, "\x00"); path.Base(program) == name {
				return name
			}
		}
	}
	return ""
}

// tell is what there is to say of the processes of one thing.
func (w *watch) tell(name string, tasks []task) map[string]any {
	values := map[string]any{"processes": len(tasks)}
	if len(tasks) == 0 {
		return values
	}
	oldest := slices.MinFunc(tasks, func(a, b task) int {
		return cmp.Or(cmp.Compare(a.started, b.started), cmp.Compare(a.pid, b.pid))
	})
	var ticks, threads, pages uint64
	for _, t := range tasks {
		ticks, threads, pages = ticks+t.ticks, threads+t.threads, pages+t.pages
	}
	values["pid"], values["state"], values["threads"] = oldest.pid, oldest.state, threads
	values["rss_bytes"] = pages * uint64(os.Getpagesize())
	values["cpu_seconds"] = float64(ticks) / userHZ
	w.age(values, name, oldest.started)
	return values
}

func (w *watch) age(values map[string]any, name string, started uint64) {
	values["restarts"] = w.restarts(name, started)
	if line, err := w.machine.text("proc/uptime"); err == nil {
		first, _, _ := strings.Cut(line, " ")
		if up, err := strconv.ParseFloat(first, 64); err == nil && up < 1e12 {
			values["up_seconds"] = telemetry.Nine(max(0, up-float64(started)/userHZ))
		}
	}
}
