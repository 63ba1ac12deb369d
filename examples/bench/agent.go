package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// agent is devid-agent as a process of its own, with its key in the TPM.
type agent struct {
	dir, program string
	run          string // for what is on a tmpfs or in the journal of a gateway, not beside its state
	door         intake // where readings are handed to it
	process      *exec.Cmd
}

// wish is what an experiment wants of the agent's configuration.
type wish struct {
	dir     string // "" is a new one
	hub     string // host:port to dial; "" is the broker
	roots   string // of the hub; "" is the broker's
	spool   string // bytes on disk; "" is 64MiB
	streams string // lines of YAML under telemetry:
}

// newAgent writes down what an agent is to be, and starts nothing.
func (b *bench) newAgent(w wish) (*agent, error) {
	b.devices++
	device := fmt.Sprintf("gateway-%d", b.devices)
	if w.dir == "" {
		w.dir = b.file(device)
	}
	run := b.file(device + ".run")
	for _, dir := range []string{w.dir, run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if _, err := makeClient(b.cloud, b.dir, device); err != nil {
		return nil, err
	}
	values := map[string]string{
		"DEVICE": device, "DIR": w.dir, "RUN": run, "TPM": b.chip.socket, "BOOTSTRAP": b.file(device), "ID_SCOPE": sim.IDScope,
		"DPS": b.cloud.DPSAddr(), "DPS_ROOTS": b.file("cloud.pem"), "HUB": or(w.hub, b.broker.tls), "HUB_ROOTS": or(w.roots, b.broker.server.roots),
		"WINDOW": fmt.Sprint(b.window), "SPOOL": or(w.spool, "64MiB"), "STREAMS": w.streams,
	}
	a := &agent{dir: w.dir, run: run, program: b.agent}
	a.door = intake{kind: b.feed, network: "unix", address: a.socket()}
	if b.feed == "mqtt" {
		a.door.address, a.door.topic = a.file("mqtt.sock"), stream
		values["MQTT"] = "    mqtt:\n      listen: " + a.door.address
	}
	return a, stage.Configure(a.file("agent.yaml"), filepath.Join(b.files, "agent.yaml"), values)
}

// bringOnline starts a new agent, and waits until the hub has accepted it.
func (b *bench) bringOnline(ctx context.Context, w wish) (*agent, error) {
	a, err := b.newAgent(w)
	if err != nil {
		return nil, err
	}
	if err = a.start(); err == nil {
		err = a.online(ctx)
	}
	if err != nil {
		a.kill()
	}
	return a, err
}

func (a *agent) file(name string) string { return filepath.Join(a.dir, name) }

// log is what it says.
func (a *agent) log() string { return filepath.Join(a.run, "agent.log") }

// socket takes readings by HTTP.
func (a *agent) socket() string { return a.file("ingest.sock") }

// start starts the process, with the limits that its unit has.
func (a *agent) start() (err error) {
	a.process, err = process.Start(a.log(), []string{"GOMEMLIMIT=48MiB", "GOMAXPROCS=1"}, a.program, "run", "--config", a.file("agent.yaml"))
	return err
}

// kill ends it as a power cut does, without asking.
func (a *agent) kill() { process.Kill(a.process) }

// intake waits until readings are taken.
func (a *agent) intake(ctx context.Context) error {
	return a.until(ctx, "the agent to take readings", func() bool { return listens(a.door.network, a.door.address) })
}

// online waits until the agent takes readings, and says that the hub has accepted it.
func (a *agent) online(ctx context.Context) error {
	if err := a.intake(ctx); err != nil {
		return err
	}
	return a.until(ctx, "the agent to connect", func() bool {
		s, err := a.status()
		return err == nil && s.PID == a.process.Process.Pid && s.Hub.State == "online"
	})
}

func (a *agent) status() (s stage.Status, err error) {
	b, err := os.ReadFile(filepath.Join(a.run, "status.json"))
	if err != nil {
		return s, err
	}
	err = json.Unmarshal(b, &s)
	return s, err
}

// until is the common one, but for an agent that has ended meanwhile.
func (a *agent) until(ctx context.Context, what string, is func() bool) error {
	err := until(ctx, what, func() bool { return is() || !process.Lives(a.process) })
	if err == nil && !process.Lives(a.process) {
		return fmt.Errorf("the agent ended while we waited for %s: %s", what, process.Tail(a.log()))
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, process.Tail(a.log()))
	}
	return nil
}

func (a *agent) sample() (process.Sample, error) { return process.Look(a.process.Process.Pid) }

func until(ctx context.Context, what string, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %s: %w", what, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

func or(s, usual string) string {
	if s == "" {
		return usual
	}
	return s
}
