package sensors

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/telemetry"
)

// Services watches systemd's system services that are called so, by their control groups: D-Bus would cost a connection
// and as much code as all other sources together. What systemd knows and the kernel does not is not told: whether a
// service that does not run has failed or was stopped.
func (m Machine) Services(names ...string) (telemetry.Source, error) {
	return m.watch("service", names, services)
}

// hierarchies are where systemd's tree of groups may be: unified; unified beside the older ones, and only the older ones
// (systemd, "Control Group APIs and Delegation").
var hierarchies = []string{"sys/fs/cgroup", "sys/fs/cgroup/unified", "sys/fs/cgroup/systemd"}

func services(ctx context.Context, w *watch) *found {
	f := nothing()
	root := ""
	for _, at := range hierarchies {
		if len(w.machine.entries(f, at, "system.slice")) > 0 {
			root = at + "/system.slice"
			break
		}
	}
	if root == "" {
		return f // no systemd
	}
	for _, name := range w.names {
		if ctx.Err() == nil {
			f.values[name] = w.service(f, name, root+"/"+group(name))
		}
	}
	return f
}

// group is the directory of a service. Instances of a template have a slice of their own for all of them.
func group(name string) string {
	if !strings.HasSuffix(name, ".service") {
		name += ".service"
	}
	if template, _, instance := strings.Cut(name, "@"); instance {
		return "system-" + strings.ReplaceAll(template, "-", `\x2d`) + ".slice/" + name
	}
	return name
}

// service is what its group says (Documentation/admin-guide/cgroup-v2.rst). The group of a service that does not run is
// empty or gone.
func (w *watch) service(f *found, name, dir string) map[string]any {
	m := w.machine
	running := w.members(f, dir)
	values := map[string]any{"running": len(running) > 0, "processes": len(running)}
	if events, err := m.text(dir, "cgroup.events"); err == nil {
		if n, ok := counter(events, "populated"); ok {
			values["running"] = n == 1 // also where the processes are in groups below
		}
	}
	if n, err := m.integer(dir, "memory.current"); err == nil {
		values["memory_bytes"] = n
	}
	if text, err := m.text(dir, "cpu.stat"); err == nil {
		if micro, ok := counter(text, "usage_usec"); ok {
			values["cpu_seconds"] = float64(micro) / 1e6
		}
	}
	if text, err := m.text(dir, "memory.events"); err == nil {
		if n, ok := counter(text, "oom_kill"); ok {
			values["oom_kills"] = n
		}
	}
	if len(running) > 0 {
		w.age(values, name, oldest(running))
	}
	return values
}

// members are the processes in the group itself.
func (w *watch) members(f *found, dir string) []task {
	text, err := w.machine.text(dir, "cgroup.procs")
	f.broken(err)
	var tasks []task
	for pid := range strings.FieldsSeq(text) {
		if _, err := strconv.ParseUint(pid, 10, 31); err != nil {
			f.broken(fmt.Errorf("%s: %s is no process", dir, quote(pid)))
			continue
		}
		t, err := w.machine.task(pid)
		if err == nil && t.state != "zombie" {
			tasks = append(tasks, t)
		} else if err != nil && !gone(err) {
			f.broken(err)
		}
	}
	return tasks
}

// gone reports whether a process ended while it was read.
func gone(err error) bool { return errors.Is(err, syscall.ESRCH) }

func oldest(tasks []task) uint64 {
	first := tasks[0].started
	for _, t := range tasks {
		first = min(first, t.started)
	}
	return first
}
