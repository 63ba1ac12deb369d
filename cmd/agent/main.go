// Command devid-agent gives a gateway an identity whose key cannot leave its hardware, streams telemetry with it,
// and renews it before it expires.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
)

// Exit codes. systemd restarts after exitFailure and, with RestartPreventExitStatus=78, not after exitConfig.
const (
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 78 // EX_CONFIG of sysexits.h
)

// release is set by the build: -ldflags "-X main.release=1.2.3".
var release = "0.1.0-dev"

const programName = "devid-agent"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	cmd, o, err := commandLine().Parse(args, errOut)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return exitUsage
	}
	err = cmd.Run(ctx, o, out)
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
	commands.Explain(w, programName, err)
}

func version() string { return commands.Version(release) }

// userAgent is how the agent names itself to the cloud.
func userAgent() string { return programName + "/" + version() }
