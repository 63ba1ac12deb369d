// Command demo is the main job of devid-agent, end to end: a blank TPM (swtpm, a real TPM 2.0 implementation), the
// simulated cloud, and the agent as a process of its own. It tells the story while it happens, and its summary is
// counted from what the cloud received. It exits with 1 when a line of the summary is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/examples/process"
	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// limit is for a loaded machine; without trouble the demo takes under two minutes.
const limit = 3 * time.Minute

func main() {
	agent := flag.String("agent", "bin/devid-agent", "the agent's `binary`")
	example := flag.String("config", "examples/demo/agent.yaml", "the agent's configuration, with ${…} where the demo fills in")
	flag.Parse()
	stage.Run("demo", limit, func(ctx context.Context) (bool, error) { return demo(ctx, *agent, *example) })
}

// life of a certificate in the demo.
const life = time.Minute

// demo sets the stage in one temporary directory, and leaves nothing of it behind.
func demo(ctx context.Context, agent, example string) (good bool, err error) {
	dir, err := os.MkdirTemp("", "devid-demo-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	s := &story{dir: dir, began: time.Now()}
	if s.agent, err = filepath.Abs(agent); err != nil {
		return false, err
	}
	s.cloud, err = sim.Start(ctx, sim.Temper{Latency: 5 * time.Millisecond, IssueDelay: 300 * time.Millisecond},
		func(p *sim.Policy) { p.Life = life })
	if err != nil {
		return false, err
	}
	defer s.cloud.Close()
	s.tell("cloud", "a DPS and an IoT Hub at %s and %s; certificates live %s", s.cloud.DPSAddr(), s.cloud.HubAddr(), life)
	tpm, err := stage.StartTPM(ctx, s.file("tpm"), s.file("tpm.sock"))
	if err != nil {
		return false, err
	}
	defer process.Kill(tpm)
	s.tell("tpm", "a blank TPM 2.0 (swtpm)")
	if err := s.equip(example); err != nil {
		return false, err
	}
	if err := s.play(ctx); err != nil {
		s.stopAgent(syscall.SIGKILL)
		return false, fmt.Errorf("%w\n%s", err, s.log.Tail())
	}
	return s.summary(), nil
}
