package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

const device = "gateway-0015"

// rig is what the agent is measured on.
type rig struct {
	options
	dir, run string
	cloud    *sim.Cloud
	tpm      *exec.Cmd
	process  *exec.Cmd
}

func (r *rig) file(name string) string { return filepath.Join(r.dir, name) }

// equip gives the device its TPM, and what the factory gives it.
func (r *rig) equip(ctx context.Context) (err error) {
	if r.tpm, err = stage.StartTPM(ctx, r.file("tpm"), r.file("tpm.sock")); err != nil {
		return err
	}
	values := map[string]string{"DIR": r.dir, "RUN": r.run, "ID_SCOPE": sim.IDScope, "DPS": r.cloud.DPSAddr(), "HUB": r.cloud.HubAddr()}
	return errors.Join(stage.Papers(r.cloud, device, r.dir), stage.Configure(r.file("agent.yaml"), r.config, values))
}

// start starts the agent, with the limits that its unit has.
func (r *rig) start() (err error) {
	r.process, err = process.Start(r.file("agent.log"), []string{"GOMEMLIMIT=48MiB", "GOMAXPROCS=1"}, r.agent, "run", "--config", r.file("agent.yaml"))
	return err
}

// halt ends the agent, as systemd does.
func (r *rig) halt() error {
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return r.process.Wait()
}

func (r *rig) stop() {
	process.Kill(r.process)
	process.Kill(r.tpm)
}

// until waits for something, and for no agent that has ended.
func (r *rig) until(ctx context.Context, what string, is func() bool) error {
	for !is() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %s: %w: %s", what, ctx.Err(), process.Tail(r.file("agent.log")))
		case <-time.After(5 * time.Millisecond):
		}
		if !process.Lives(r.process) {
			return fmt.Errorf("the agent ended while we waited for %s: %s", what, process.Tail(r.file("agent.log")))
		}
	}
	return nil
}
