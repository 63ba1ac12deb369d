package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/station"
)

func TestMistakesOnTheCommandLineAreUsage(t *testing.T) {
	d := newDesk(t)
	for _, args := range [][]string{{}, {"hub"}, {"hub", "create"}, {"hub", "show", "a", "b"}, {"ca", "init"}, {"enroll", "--no-such-flag"}, {"nothing"}} {
		if code, _, errOut := d.command(args...); code != exitUsage || errOut == "" {
			t.Errorf("%v: %d %s", args, code, errOut)
		}
	}
	for _, c := range commandLine().Commands {
		if code, _, errOut := d.command(append(strings.Fields(c.Name), "--help")...); code != 0 || !strings.Contains(errOut, strings.TrimSpace(c.Name+" "+c.Takes)) {
			t.Errorf("%s --help: %d %s", c.Name, code, errOut)
		}
	}
	d.refused("which devices?", "enroll", "--order", "{dir}/o")
	d.refused("which order?", "enroll", "gw-1")
	d.refused("is no host", "enroll", "--order", "{dir}/o", "--", "-oProxyCommand=x")
}

func TestListOfHostsSaysWhichDeviceEachIs(t *testing.T) {
	d := newDesk(t)
	got, err := readTargets(d.write("list.csv", "host,device\n# line 4\ngw-1.local, gw-1\nroot@10.0.0.2,gw-2\n"))
	if err != nil || len(got) != 2 || got[1] != (target{"root@10.0.0.2", "gw-2"}) {
		t.Errorf("%v %v", got, err)
	}
	for name, text := range map[string]string{"empty": "", "one column": "gw-1\n", "twice": "a,x\nb,x\n", "no device": "a,\n", "an option": "-oX,y\n"} {
		if _, err := readTargets(d.write("list.csv", text)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzListOfHosts(f *testing.F) {
	f.Add("host,device\ngw-1,gw-1\n")
	f.Add("\"a\nb\",c\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := readTargets(file)
		for _, x := range all {
			if err == nil && (station.CheckHost(x.name) != nil || x.device == "") {
				t.Errorf("%q gives %+v", text, x)
			}
		}
	})
}
