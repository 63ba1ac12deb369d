package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/devid-agent/devid-agent/packaging/boot"
	"github.com/kardianos/service"
)

const name = "devid-agent"

// machine is the init system of this machine, and what it needs to start the agent.
type machine struct {
	service.Service
	system  string // as the service module names it
	program string
	script  string // what install writes
	path    string // where
}

// nothing is the program that the service module would run: the agent runs without the module.
type nothing struct{}

func (nothing) Start(service.Service) error { return nil }
func (nothing) Stop(service.Service) error  { return nil }

// initSystem is where an init system has its scripts, and the option that hands ours to the service module.
type initSystem struct {
	option string
	path   string
	script func(program string) string
}

// initSystems by the names that the service module gives them.
var initSystems = map[string]initSystem{
	"linux-systemd": {"SystemdScript", "/etc/systemd/system/" + name + ".service", boot.Systemd},
	"linux-openrc":  {"OpenRCScript", "/etc/init.d/" + name, boot.OpenRC},
	"linux-procd":   {"SysvScript", "/etc/init.d/" + name, boot.Procd},
	"linux-upstart": {"UpstartScript", "/etc/init/" + name + ".conf", boot.Upstart},
	"linux-rcs":     {"RCSScript", "/etc/init.d/" + name, boot.SysV},
	"unix-systemv":  {"SysvScript", "/etc/init.d/" + name, boot.SysV},
}

func detect(program string) (*machine, error) {
	system := service.Platform()
	known, ok := initSystems[system]
	if !ok {
		return nil, fmt.Errorf("the init system %q is not known; docs/packaging.md says what yours must do", system)
	}
	m := &machine{system: system, program: program, script: known.script(program), path: known.path}
	s, err := service.New(nothing{}, &service.Config{
		Name: name, Description: "device identity agent", Executable: program,
		Option: service.KeyValue{known.option: m.script},
	})
	m.Service = s
	return m, err
}

func (m *machine) install(out io.Writer) error {
	if err := m.mayInstall(); err != nil {
		return err
	}
	if err := makeUser(); err != nil {
		return err
	}
	if err := m.clear(); err != nil {
		return err
	}
	if err := m.Install(); err != nil {
		return fmt.Errorf("install the service under %s: %w", m.system, err)
	}
	_, err := fmt.Fprintf(out, "installed %s\nnext: %s config check, then: devid-agent service start\n", m.path, m.program)
	return err
}

// mayInstall reports why not: the agent is not there, or a package owns the service.
func (m *machine) mayInstall() error {
	if _, err := exec.LookPath(m.program); err != nil {
		return fmt.Errorf("%w: name the agent's program with --program", err)
	}
	if strings.ContainsAny(m.program, " \t\n'\"\\%${}") {
		return fmt.Errorf("no init script can name %q: move the program to a path without spaces and quotes", m.program)
	}
	for _, path := range []string{"/usr/lib/systemd/system", "/lib/systemd/system"} {
		unit := filepath.Join(path, name+".service")
		if _, err := os.Stat(unit); err == nil && m.system == "linux-systemd" {
			return fmt.Errorf("%s belongs to the package of this machine, which installs the service itself: use systemctl", unit)
		}
	}
	old, err := os.ReadFile(m.path)
	if err == nil && !bytes.Contains(old, []byte(boot.Mark)) {
		return fmt.Errorf("%s is not ours: a package put it there, or a person; remove it first", m.path)
	}
	return nil
}

// clear makes room for the new script: the service module does not write over an old one. A running agent goes on.
func (m *machine) clear() error {
	err := os.Remove(m.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(err, m.unlink())
}

func (m *machine) uninstall(out io.Writer) error {
	if _, err := os.Stat(m.path); errors.Is(err, os.ErrNotExist) {
		return errors.New("the service is not installed")
	}
	if err := m.mayInstall(); err != nil {
		return err
	}
	if err := m.stop(); err != nil {
		return err
	}
	if err := m.Uninstall(); err != nil {
		return fmt.Errorf("uninstall the service from %s: %w", m.system, err)
	}
	if err := m.unlink(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "removed %s; /etc/devid-agent and /var/lib/devid-agent stay, and so does the key in the hardware\n", m.path)
	return err
}

// unlink removes the runlevels' links, which the service module makes and leaves.
func (m *machine) unlink() error {
	var all error
	for _, pattern := range []string{"/etc/rc?.d/[SK][0-9][0-9]" + name, "/etc/rc.d/[SK][0-9][0-9]" + name} {
		links, _ := filepath.Glob(pattern)
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil && strings.HasSuffix(target, "init.d/"+name) {
				all = errors.Join(all, os.Remove(link))
			}
		}
	}
	return all
}

func (m *machine) start() error {
	if err := m.Start(); err != nil {
		return fmt.Errorf("start the service: %w; the system's log says why, and: %s config check", err, m.program)
	}
	return nil
}

func (m *machine) stop() error {
	if err := m.Stop(); err != nil {
		return fmt.Errorf("stop the service: %w", err)
	}
	return nil
}

// status prints what the service is. Only that it could not be found out is an error.
func (m *machine) status(out io.Writer) error {
	if _, err := os.Stat(m.path); errors.Is(err, os.ErrNotExist) {
		_, err := fmt.Fprintln(out, "not installed")
		return err
	}
	word := "stopped"
	state, err := m.Status()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 3 {
		state, err = service.StatusStopped, nil // Linux Standard Base 5.0, Init Script Actions; the module takes it for a failure
	}
	switch {
	case err != nil && m.system == "linux-systemd":
		word = "failed: journalctl -u " + name + " says why" // all that systemd's part of the module has errors for, the script being there
	case err != nil:
		return fmt.Errorf("ask %s: %w", m.system, err)
	case state == service.StatusRunning:
		word = "running"
	}
	_, err = fmt.Fprintln(out, word)
	return err
}
