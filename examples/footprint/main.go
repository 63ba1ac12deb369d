// Command footprint measures what the agent costs: memory, processor, wake-ups, bytes written, and the time to the first
// message. The agent is the real one, with a TPM (swtpm) and the simulated cloud, configured as it is by default. It exits
// with 1 where a gate is missed.
package main

import (
	"context"
	"flag"
	"os"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
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
	stage.Run("footprint", o.idle+5*time.Minute, func(ctx context.Context) (bool, error) { return footprint(ctx, o) })
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
	defer r.stop()
	if err := r.equip(ctx); err != nil {
		return false, err
	}
	f, err := r.measure(ctx)
	if err != nil {
		return false, err
	}
	return f.report(stage.ReadBoard(o.board)), nil
}
