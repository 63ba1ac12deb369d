// Command devid-service makes the agent a service of this machine, whatever its init system is, where no package does.
// `devid-agent service` starts it. It is a program of its own because few gateways need it, and none needs it twice.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/devid-agent/devid-agent/packaging/boot"
)

var release = "unknown" // set by the linker

const usage = `usage: devid-service ACTION [--program FILE]

  install    make the agent a service that starts at boot; over an older one, renew its script
  uninstall  take the service away again; state and identity stay
  start, stop
  status     running, stopped or not installed
  show       print what install would write

`

// errUsage has been explained already.
var errUsage = errors.New("usage")

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "devid-service:", err)
		os.Exit(1)
	}
}

func run(args []string, out, diagnostics io.Writer) error {
	action, program, err := parse(args, diagnostics)
	if err != nil {
		return err
	}
	m, err := detect(program)
	if err != nil {
		return err
	}
	switch action {
	case "install":
		return m.install(out)
	case "uninstall":
		return m.uninstall(out)
	case "start":
		return m.start()
	case "stop":
		return m.stop()
	case "status":
		return m.status(out)
	case "show":
		_, err := io.WriteString(out, m.script)
		return err
	}
	return fmt.Errorf("%w: %s", errUsage, action)
}

// parse returns what to do, and the agent's program as an absolute path: beside this one, unless it is named.
func parse(args []string, diagnostics io.Writer) (action, program string, err error) {
	flags := flag.NewFlagSet("devid-service", flag.ContinueOnError)
	flags.SetOutput(diagnostics)
	flags.StringVar(&program, "program", beside(), "the agent's `FILE`")
	flags.Usage = func() {
		fmt.Fprint(diagnostics, usage)
		flags.PrintDefaults()
		fmt.Fprintln(diagnostics, "release", release)
	}
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		action, args = args[0], args[1:]
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return "", "", err
	} else if err != nil {
		return "", "", errUsage
	}
	if !known(action) || flags.NArg() > 0 {
		flags.Usage()
		return "", "", errUsage
	}
	program, err = filepath.Abs(program)
	return action, program, err
}

func known(action string) bool {
	switch action {
	case "install", "uninstall", "start", "stop", "status", "show":
		return true
	}
	return false
}

func beside() string {
	self, err := os.Executable()
	if err != nil {
		return boot.Program
	}
	return filepath.Join(filepath.Dir(self), "devid-agent")
}
