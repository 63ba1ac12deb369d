package sensors

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry"
)

// Command is a source that runs a program and reads what it prints to its standard output: each line a JSON
// object or NAME=VALUE pairs, all lines of a run together one sample.
//
// The program runs as the agent's user, with nothing on its standard input and with no more of the environment than PATH,
// LC_ALL=C and Env. It and what it has started are killed at the read's deadline, and when it prints more than 256 KB.
// Its exit status is the value "exit_status"; another one than 0 is told, with what it has written to its standard error.
type Command struct {
	Args []string // program and arguments; no shell reads them
	Env  []string // NAME=VALUE
	Dir  string   // to run in; "" is /
}

const (
	outputLimit = 256 << 10
	stderrLimit = 512
	searchPath  = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Name is "exec".
func (c Command) Name() string { return "exec" }

// Read runs the program once. Its error says what was wrong with the run; the values are what it printed nevertheless.
func (c Command) Read(ctx context.Context) (map[string]any, error) {
	if len(c.Args) == 0 {
		return nil, telemetry.ErrNoData
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	out, errs := &bounded{limit: outputLimit, over: stop}, &bounded{limit: stderrLimit}
	cmd := c.command(ctx)
	cmd.Stdout, cmd.Stderr = out, errs
	err := cmd.Run()
	if cmd.Process == nil {
		return nil, fault.AskOperator(fmt.Errorf("run %s: %w", c.Args[0], err), "give the program's full path, and let the agent's user execute it")
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		c.sweep(cmd.Process.Pid) // it has left somebody behind, who holds its output open
	}
	f := nothing()
	parseLines(f, out.String())
	if _, said := f.values["exit_status"]; !said && cmd.ProcessState != nil && cmd.ProcessState.Exited() {
		f.values["exit_status"] = cmd.ProcessState.ExitCode()
	}
	f.broken(c.verdict(ctx, err, out, errs))
	return f.values, errors.Join(f.errs...)
}

func (c Command) command(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append([]string{searchPath, "LC_ALL=C"}, c.Env...)
	if cmd.Dir = c.Dir; cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return c.sweep(cmd.Process.Pid) }
	cmd.WaitDelay = time.Second // then what it has left behind is not waited for
	return cmd
}

// sweep kills the program and all that it has started, but for what has made itself a group of its own.
func (c Command) sweep(group int) error {
	err := syscall.Kill(-group, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// verdict says what was wrong with a run.
func (c Command) verdict(ctx context.Context, err error, out, errs *bounded) error {
	switch {
	case out.full:
		err = fmt.Errorf("killed: it printed more than %d KB", outputLimit>>10)
	case ctx.Err() != nil:
		err = fmt.Errorf("killed at its deadline: %w", ctx.Err())
	case errors.Is(err, exec.ErrWaitDelay):
		err = errors.New("it ended and left a process behind that held its output open")
	case err == nil:
		return nil
	}
	if said := strings.TrimSpace(errs.String()); said != "" {
		err = fmt.Errorf("%w: %s", err, excerpt(said, 300))
	}
	return fmt.Errorf("%s: %w", c.Args[0], err)
}

// bounded keeps the beginning of what is written to it, and takes the rest as if it did.
type bounded struct {
	b     []byte
	limit int
	full  bool
	over  func() // there is more than limit; may be nil
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - len(b.b)
	b.b = append(b.b, p[:min(room, len(p))]...)
	if len(p) > room && !b.full {
		b.full = true
		if b.over != nil {
			b.over()
		}
	}
	return len(p), nil
}

func (b *bounded) String() string { return string(b.b) }
