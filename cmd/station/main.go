// Command devid-station is the tool of factory technicians and administrators: it gets certificates from EZCA or from an
// authority of its own, registers devices at IoT Hub and DPS, and enrolls whole orders of devices.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// Exit codes. enroll ends with exitFailure where one device is not finished.
const (
	exitFailure = 1
	exitUsage   = 2
)

// release is set by the build: -ldflags "-X main.release=1.2.3".
var release = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

const programName = "devid-station"

// commandLine is the table of all commands, for one command line.
func commandLine() commands.Program {
	all := slices.Concat(caCommands(), ezcaCommands(), hubCommands(), dpsCommands(), []commands.Command{enrollCommand(), commands.VersionOf(programName, version())})
	return commands.Program{Name: programName, Commands: commands.InJSON(all, func(t commands.Trouble) any { return t })}
}

func version() string { return commands.Version(release) }

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	cmd, o, err := commandLine().Parse(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return exitUsage
	}
	o.In = in
	if err := cmd.Run(ctx, o, out); err != nil {
		commands.Explain(errOut, programName, err)
		return exitFailure
	}
	return 0
}

// write puts b into the file of that name (mode 0600) and onto the medium, or to out where there is no name.
func write(name string, b []byte, out io.Writer) error {
	if name == "" || name == "-" {
		_, err := out.Write(b)
		return err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return durable.Label("make", dir, err)
	}
	// Not durable.Open, which sweeps what others are writing there.
	return durable.Look(dir).Write(filepath.Base(name), b)
}

// maxInput is how much of a file of a person is read: requests and chains are small.
const maxInput = 1 << 20

// readInput returns the content of a file, or of in, the standard input, for "-".
func readInput(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(in, maxInput))
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.AskOperator(err, "name a file that exists, or - for the standard input")
	}
	return b, nil
}
