package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/packaging/boot"
	"github.com/kardianos/service"
)

func TestACommandLineThatIsWrongIsExplained(t *testing.T) {
	for _, args := range [][]string{{}, {"instal"}, {"install", "now"}, {"--program", "x"}, {"install", "--prog", "x"}} {
		var said bytes.Buffer
		if err := run(args, &said, &said); !errors.Is(err, errUsage) || !strings.Contains(said.String(), "usage:") {
			t.Errorf("%v: %v, said %q", args, err, said.String())
		}
	}
}

func TestWhatIsShownStartsTheProgramThatWasNamed(t *testing.T) {
	var script bytes.Buffer
	if err := run([]string{"show", "--program", "/opt/devid/devid-agent"}, &script, &script); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(script.String(), "/opt/devid/devid-agent") {
		t.Errorf("shown: %s", script.String())
	}
}

// agent is an executable file, whatever is in it.
func agent(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAScriptOfSomebodyElseIsLeftAlone(t *testing.T) {
	script := filepath.Join(t.TempDir(), "devid-agent")
	m := &machine{system: "unix-systemv", program: agent(t, "devid-agent"), path: script}
	for content, mine := range map[string]bool{"#!/bin/sh\n# by hand\n": false, boot.SysV(m.program): true} {
		if err := os.WriteFile(script, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.mayInstall(); (err == nil) != mine {
			t.Errorf("over %.20q: %v", content, err)
		}
	}
}

func TestAProgramThatNoScriptCanNameIsRefused(t *testing.T) {
	for _, name := range []string{"devid agent", "devid$(reboot)", "devid'agent", "devid%n"} {
		m := &machine{system: "unix-systemv", program: agent(t, name), path: filepath.Join(t.TempDir(), "none")}
		if err := m.mayInstall(); err == nil {
			t.Errorf("%s may be installed", m.program)
		}
	}
	m := &machine{system: "unix-systemv", program: filepath.Join(t.TempDir(), "gone"), path: "none"}
	if err := m.mayInstall(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

func TestEveryInitSystemOfTheModuleHasAScript(t *testing.T) {
	for _, s := range service.AvailableSystems() {
		known, ok := initSystems[s.String()]
		if !ok {
			t.Errorf("%s is not known", s)
			continue
		}
		if script := known.script("/opt/devid-agent"); !strings.Contains(script, "/opt/devid-agent") || !strings.HasPrefix(known.path, "/etc/") {
			t.Errorf("%s: %s", s, known.path)
		}
	}
}
