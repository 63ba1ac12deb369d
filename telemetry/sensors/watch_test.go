package sensors

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/telemetry"
)

// stat is a line of /proc/PID/stat.
func stat(pid int, name, state string, ticks, started int) string {
	return fmt.Sprintf("-- proc/%d/stat --\n%d (%s) %s 1 1 1 0 -1 4194560 1 0 0 0 %d 1 0 0 20 0 3 0 %d 1000000 500 18446744073709551615 0\n",
		pid, pid, name, state, ticks, started)
}

func TestProcessIsFoundByNameAndItsRestartsAreSeen(t *testing.T) {
	long := "a-program-with-a-long-name"
	m := plant(t, "-- proc/uptime --\n1000.00 1\n"+stat(70, "modbusd", "S", 199, 50000)+stat(300, "modbusd", "R", 99, 60000)+
		stat(301, "web (worker) 1", "D", 4, 70000)+stat(400, long[:15], "S", 9, 70000)+"-- proc/400/cmdline --\n/usr/bin/"+long+"\x00-v\x00"+
		stat(401, long[:15], "S", 9, 70000)+"-- proc/401/cmdline --\n/usr/bin/"+long+"er\x00\n"+"-- proc/500/stat --\n500 (broken\n")
	source, err := m.Processes("modbusd", "web (worker) 1", long, "absent")
	if err != nil {
		t.Fatal(err)
	}
	values, told := readSource(t, source)
	rss := os.Getpagesize() * 500
	same(t, values, fmt.Sprintf(`{
		"modbusd": {"processes": 2, "pid": 70, "state": "sleeping", "threads": 6, "rss_bytes": %d, "cpu_seconds": 3, "up_seconds": 500, "restarts": 0},
		"web (worker) 1": {"processes": 1, "pid": 301, "state": "waiting", "threads": 3, "rss_bytes": %d, "cpu_seconds": 0.05, "up_seconds": 300, "restarts": 0},
		"%s": {"processes": 1, "pid": 400, "state": "sleeping", "threads": 3, "rss_bytes": %d, "cpu_seconds": 0.1, "up_seconds": 300, "restarts": 0},
		"absent": {"processes": 0}}`, 2*rss, rss, long, rss))
	if !strings.Contains(told, "500 (broken") {
		t.Errorf("a broken line is told as %s", told)
	}
	for _, step := range []struct {
		started  int
		restarts uint64
	}{{50000, 0}, {60000, 1}, {0, 1}, {90000, 2}} {
		_ = errors.Join(os.RemoveAll(m.path("proc/70")), os.RemoveAll(m.path("proc/300")))
		if step.started != 0 {
			line := strings.SplitN(stat(70, "modbusd", "S", 1, step.started), "\n", 2)[1]
			if err := errors.Join(os.Mkdir(m.path("proc/70"), 0o755), os.WriteFile(m.path("proc/70/stat"), []byte(line), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		values, _ := readSource(t, source)
		if got := values["modbusd"].(map[string]any); step.started != 0 && got["restarts"] != step.restarts || step.started == 0 && got["processes"] != 0 {
			t.Errorf("started at %d: %v, want %d restarts", step.started, got, step.restarts)
		}
	}
}

func TestThisProcessIsFound(t *testing.T) {
	self, err := (Machine{}).filled().task(fmt.Sprint(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	source, err := Machine{}.Processes(self.name)
	if err != nil {
		t.Fatal(err)
	}
	values, told := readSource(t, source)
	if got := values[self.name].(map[string]any); got["processes"] == 0 || got["rss_bytes"].(uint64) < 1<<20 {
		t.Errorf("this test reads as %v (%s)", got, told)
	}
}

func TestServiceIsReadFromItsControlGroup(t *testing.T) {
	for hierarchy, root := range map[string]string{"unified": "sys/fs/cgroup", "beside the older": "sys/fs/cgroup/unified"} {
		dir := "-- " + root + "/system.slice/"
		m := plant(t, "-- proc/uptime --\n1000.00 1\n"+stat(70, "mosquitto", "S", 199, 50000)+stat(71, "x", "S", 1, 60000)+
			dir+"mosquitto.service/cgroup.procs --\n70\n71\n9999\n"+dir+"mosquitto.service/cgroup.events --\npopulated 1\nfrozen 0\n"+
			dir+"mosquitto.service/memory.current --\n4194304\n"+dir+"mosquitto.service/cpu.stat --\nusage_usec 1500000\nuser_usec 1\n"+
			dir+"mosquitto.service/memory.events --\nlow 0\noom 0\noom_kill 2\n"+
			dir+`system-a\x2db.slice/a-b@1.service/cgroup.events --`+"\npopulated 1\n"+dir+`system-a\x2db.slice/a-b@1.service/cgroup.procs --`+"\n")
		source, err := m.Services("mosquitto", "a-b@1.service", "gone.service")
		if err != nil {
			t.Fatal(err)
		}
		values, told := readSource(t, source)
		t.Log(hierarchy, told)
		same(t, values, `{"mosquitto": {"running": true, "processes": 2, "memory_bytes": 4194304, "cpu_seconds": 1.5, "oom_kills": 2, "up_seconds": 500, "restarts": 0},
			"a-b@1.service": {"running": true, "processes": 0}, "gone.service": {"running": false, "processes": 0}}`)
	}
	none, err := Machine{Root: t.TempDir()}.Services("a")
	if err != nil {
		t.Fatal(err)
	}
	if values, err := none.Read(t.Context()); !errors.Is(err, telemetry.ErrNoData) {
		t.Errorf("without systemd: %v, %v", values, err)
	}
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	for _, name := range []string{"", "../x", "a/b", ".", "..", "a\x00b"} {
		_, a := Machine{}.Processes(name)
		_, b := Machine{}.Services("ok", name)
		if a == nil || b == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}
