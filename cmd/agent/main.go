// Command devid-agent gives a gateway an identity whose key cannot leave its hardware, streams telemetry with it,
// and renews it before it expires.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
)

// Exit codes. systemd restarts after exitFailure and, with RestartPreventExitStatus=78, not after exitConfig.
const (
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 78 // EX_CONFIG of sysexits.h
)

// release is set by the build: -ldflags "-X main.release=1.2.3".
var release = "0.1.0-dev"

func quick(f func(options, io.Writer) error) func(context.Context, options, io.Writer) error {
	return func(_ context.Context, o options, out io.Writer) error { return f(o, out) }
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	cmd, o, err := parseCommand(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return exitUsage
	}
	err = cmd.run(ctx, o, out)
	if err == nil || fault.Stopped(err) && ctx.Err() != nil {
		return 0
	}
	explain(errOut, err)
	return code(err)
}

func code(err error) int {
	if _, ok := errors.AsType[*configError](err); ok {
		return exitConfig
	}
	return exitFailure
}

// explain prints err and, where it is known, the remedy.
func explain(w io.Writer, err error) {
	if mistakes, ok := errors.AsType[*configError](err); ok {
		fmt.Fprintln(w, mistakes) // each line begins with its place, for editors to jump to
		return
	}
	fmt.Fprintln(w, "devid-agent:", err)
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

// userAgent is how the agent names itself to the cloud.
func userAgent() string { return "devid-agent/" + version() }

func versionCommand(o options, out io.Writer) error {
	if o.json {
		return printJSON(out, map[string]string{"version": version(), "go": runtime.Version(), "arch": runtime.GOARCH})
	}
	_, err := fmt.Fprintf(out, "devid-agent %s (%s, linux/%s)\n", version(), runtime.Version(), runtime.GOARCH)
	return err
}

func newLog(c *Config, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Log.Level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
