package ingest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
)

func TestClientWritesOnlyTheStreamsThatItsUserMay(t *testing.T) {
	me, other := fmt.Sprint(os.Getuid()), fmt.Sprint(os.Getuid()+1)
	shelf := &shelf{}
	w := serve(t, &Server{Spool: shelf, Permissions: []Permission{
		{User: me, Streams: []string{"boiler", "hall.*"}},
		{User: other, Streams: []string{"*"}},
		{Group: "12345", Streams: []string{"cellar"}},
		{Login: "plc", Streams: []string{"plc"}},
	}})
	for stream, status := range map[string]int{"boiler": 200, "hall.north": 200, "hall": 403, "boilers": 403, "cellar": 403, "plc": 403} {
		got := w.post(t, stream, "1")
		if got.status != status {
			t.Errorf("%s: %+v", stream, got)
		}
		if status == 403 && (!strings.Contains(got.Err, "uid "+me) || !strings.Contains(got.Hint, "telemetry.ingest.permissions")) {
			t.Errorf("%s: told %+v", stream, got)
		}
	}
}

func TestPermissionsHoldForMQTTOnAUnixSocketToo(t *testing.T) {
	w := listen(t, &MQTT{Server: &Server{Spool: &shelf{}, Permissions: []Permission{{User: fmt.Sprint(os.Getuid()), Streams: []string{"boiler"}}}}})
	c := w.connected(t, "a")
	c.send(message1(1, "boiler", "1"))
	c.expect(puback<<4, 2, 0, 1)
	c.send(message1(2, "hall", "1"))
	if said := c.cutOff(); len(said) > 0 {
		t.Errorf("the server says % x", said)
	}
	if log := w.log.String(); !strings.Contains(log, "may not write the stream hall") || !strings.Contains(log, "telemetry.ingest.permissions") {
		t.Errorf("logged %s", log)
	}
}

func TestPermissionsOnTCPGoByTheUserOfConnect(t *testing.T) {
	w := listen(t, &MQTT{Listen: "127.0.0.1:0", Users: map[string]string{"plc": "secret", "guest": "guest"}, Server: &Server{Spool: &shelf{},
		Permissions: []Permission{{Login: "plc", Streams: []string{"boiler"}}, {User: fmt.Sprint(os.Getuid()), Streams: []string{"*"}}}}})
	for user, password := range w.Users {
		c := w.dial(t)
		c.send(hello("", flagClean|flagUser|flagPassword, 0, str(user), str(password)), message1(1, "boiler", "1"))
		c.expect(connack<<4, 2, 0, 0)
		if user == "plc" {
			c.expect(puback<<4, 2, 0, 1)
			continue
		}
		if said := c.cutOff(); len(said) > 0 {
			t.Errorf("%s: the server says % x", user, said)
		}
	}
}

func TestKernelSaysWhoAClientIs(t *testing.T) {
	a, b := socketPair(t)
	defer a.Close()
	p := peerOf(b)
	mine, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	groups := []int{}
	for _, g := range p.groups {
		groups = append(groups, int(g))
	}
	slices.Sort(groups)
	slices.Sort(mine)
	if !p.known || int(p.uid) != os.Geteuid() || int(p.gid) != os.Getegid() || fmt.Sprint(groups) != fmt.Sprint(mine) {
		t.Errorf("the peer is %+v, and I am %d, %d, %v", p, os.Geteuid(), os.Getegid(), mine)
	}
	if pipe, _ := net.Pipe(); peerOf(pipe).known {
		t.Error("the kernel knows a pipe")
	}
}

func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := door{path: shortDir(t) + "/s", key: "k"}.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// Only root can be somebody else; a supplementary group is one that no name leads to.
func TestSupplementaryGroupsCount(t *testing.T) {
	curl := need(t, "curl", "curl")
	if os.Getuid() != 0 {
		return
	}
	w := serve(t, &Server{Spool: &shelf{}, Mode: 0o666, Permissions: []Permission{{Group: "4242", Streams: []string{"boiler"}}}})
	if err := os.Chmod(w.Path[:strings.Index(w.Path, "/run/")], 0o755); err != nil {
		t.Fatal(err)
	}
	for group, want := range map[uint32]string{4242: "200", 4243: "403"} {
		cmd := exec.CommandContext(t.Context(), curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", w.Path,
			"-H", "Content-Type: application/json", "-d", "1", "http://localhost/v1/telemetry/boiler")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{5000, group}}}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("group %d: %s (%v)", group, out, err)
		}
	}
}

func TestPermissionOfNobodyIsForAPerson(t *testing.T) {
	for _, p := range []Permission{{User: "no such user"}, {Group: "no such group"}} {
		s := &Server{Path: shortDir(t) + "/s", Spool: &shelf{}, Permissions: []Permission{p}}
		if err := s.Run(t.Context()); fault.Of(err) != fault.Operator || !strings.Contains(err.Error(), "no such") {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if g, err := grants([]Permission{{User: "root", Group: "root"}}); err != nil || g[0].uid != 0 || g[0].gid != 0 {
		t.Errorf("root is %+v (%v)", g, err)
	}
}

func TestPatternsOfStreams(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a", true}, {"a", "a", true}, {"a", "b", false}, {"a*", "a", true}, {"a*c", "abc", true}, {"a*c", "abcb", false},
		{"*.temp", "hall.temp", true}, {"*.temp", "temp", false}, {"a*b*c", "axbxbxc", true}, {"", "a", false}, {"**", "a", true}, {"a*a", "a", false},
	} {
		if like(test.pattern, test.name) != test.want {
			t.Errorf("%q meets %q: %v", test.pattern, test.name, !test.want)
		}
	}
}
