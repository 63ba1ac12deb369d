// Command devid-station is the tool of factory technicians and administrators: it gets certificates from EZCA or from an
// authority of its own, registers devices at IoT Hub and DPS, and enrolls whole orders of devices.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
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

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	cmd, o, err := parseCommand(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return exitUsage
	}
	o.in, o.errOut = in, errOut
	if err := cmd.run(ctx, o, out); err != nil {
		explain(errOut, err)
		return exitFailure
	}
	return 0
}

// explain prints err and, where it is known, the remedy.
func explain(w io.Writer, err error) {
	fmt.Fprintln(w, "devid-station:", err)
	if hint := fault.Hint(err); hint != "" {
		fmt.Fprintln(w, "  do:", hint)
	}
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && strings.HasSuffix(release, "-dev") {
				return release + "+" + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return release
}

func versionCommand(_ context.Context, o options, out io.Writer) error {
	if o.json {
		return printJSON(out, map[string]string{"version": version(), "go": runtime.Version(), "arch": runtime.GOARCH})
	}
	_, err := fmt.Fprintf(out, "devid-station %s (%s, linux/%s)\n", version(), runtime.Version(), runtime.GOARCH)
	return err
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// write puts b into the file of that name (mode 0600) and onto the medium, or to out where there is no name.
func write(name string, b []byte, out io.Writer) error {
	if name == "" || name == "-" {
		_, err := out.Write(b)
		return err
	}
	d, err := durable.Open(filepath.Dir(name), nil)
	if err != nil {
		return err
	}
	return d.Write(filepath.Base(name), b)
}

// maxInput is how much of a file of a person is read: requests and chains are small.
const maxInput = 1 << 20

// read returns the content of a file, or of the standard input for "-".
func (o options) read(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(o.in, maxInput))
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.AskOperator(err, "name a file that exists, or - for the standard input")
	}
	return b, nil
}
