// Package stage is what the examples have in common: a device's papers and its TPM, the agent's words, and a verdict that is
// counted from what the cloud received.
package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
)

// Run plays until it ends, a person has enough, or the limit is over. The process ends with 1 where there is an error, or it
// did not go as it should.
func Run(name string, limit time.Duration, play func(context.Context) (good bool, err error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, limit)
	good, err := play(ctx)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	if err != nil || !good {
		os.Exit(1)
	}
}

// StartTPM starts a TPM 2.0 (swtpm) that keeps its state in a directory: a blank one, where that is not there yet. It answers
// at the socket when this returns; process.Kill ends it.
func StartTPM(ctx context.Context, state, socket string) (*exec.Cmd, error) {
	if err := errors.Join(os.MkdirAll(state, 0o700), os.RemoveAll(socket)); err != nil {
		return nil, err
	}
	cmd, err := process.Start(state+".log", nil, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--server", "type=unixio,path="+socket,
		"--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
	if err != nil {
		return nil, fmt.Errorf("%w (apt-get install swtpm)", err)
	}
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			return cmd, conn.Close()
		}
		if ctx.Err() != nil || !process.Lives(cmd) {
			process.Kill(cmd)
			return nil, errors.New("the TPM does not start: " + process.Tail(state+".log"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Wait is a pause, unless ctx ends before.
func Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
