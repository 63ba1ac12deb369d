// Command footprint measures what the agent costs: memory, processor, wake-ups, bytes written, and the time to the first
// message. The agent is the real one, with a TPM (swtpm) and the simulated cloud, configured as it is by default. It exits
// with 1 where a gate is missed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

type options struct {
	agent, config, board string
	idle                 time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.agent, "agent", "bin/devid-agent", "the agent's `binary`")
	flag.StringVar(&o.config, "config", "examples/footprint/agent.yaml", "the agent's configuration, with ${…} where the measurement fills in")
	flag.StringVar(&o.board, "board", "", "a `file` of measurements by the emulated gateway, shown beside ours where it is there")
	flag.DurationVar(&o.idle, "idle", 2*time.Minute, "how long the agent is watched at rest")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.idle+5*time.Minute)
	defer cancel()
	good, err := footprint(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
	}
	if err != nil || !good {
		os.Exit(1)
	}
}

// footprint measures in two directories: the state on a disk, and what systemd has in /run on a tmpfs, as on a gateway.
func footprint(ctx context.Context, o options) (good bool, err error) {
	r := &rig{options: o}
	if r.dir, err = os.MkdirTemp("/var/tmp", "footprint-"); err != nil {
		return false, err
	}
	defer os.RemoveAll(r.dir)
	if r.run, err = os.MkdirTemp("/dev/shm", "footprint-"); err != nil {
		return false, err
	}
	defer os.RemoveAll(r.run)
	if r.cloud, err = sim.Start(ctx, sim.Temper{}); err != nil {
		return false, err
	}
	defer r.cloud.Close()
	if err := errors.Join(r.startTPM(ctx), r.equip()); err != nil {
		return false, err
	}
	defer r.stop()
	f, err := r.measure(ctx)
	if err != nil {
		return false, err
	}
	return f.report(readBoard(o.board)), nil
}

// boardFigures are what make gateway-full has written.
type boardFigures struct {
	Architecture  string  `json:"architecture"`
	SteadyKB      int     `json:"steady_kb"`
	PeakKB        int     `json:"peak_kb"`
	IdleSeconds   float64 `json:"idle_seconds"`
	IdleBytes     int64   `json:"idle_bytes"`
	IdleFlushes   int     `json:"idle_flushes"`
	IdleSwitches  int     `json:"idle_switches"`
	Messages      int     `json:"messages"`
	MessageBytes  int64   `json:"message_bytes"`
	FirstMessageS float64 `json:"power_to_first_message_seconds"`
	AgentFirstMS  int64   `json:"agent_to_first_message_ms"`
}

// readBoard is nil where the gateway was not measured.
func readBoard(file string) *boardFigures {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var f boardFigures
	if json.Unmarshal(b, &f) != nil || f.Messages == 0 || f.IdleSeconds == 0 {
		return nil
	}
	return &f
}
