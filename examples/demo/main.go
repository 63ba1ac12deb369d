// Command demo is the main job of devid-agent, end to end: a blank TPM (swtpm, a real TPM 2.0 implementation), the
// simulated cloud, and the agent as a process of its own. It tells the story while it happens, and its summary is
// counted from what the cloud received. It exits with 1 when a line of the summary is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// limit is for a loaded machine; without trouble the demo takes under two minutes.
const limit = 3 * time.Minute

func main() {
	agent := flag.String("agent", "bin/devid-agent", "the agent's `binary`")
	example := flag.String("config", "examples/demo/agent.yaml", "the agent's configuration, with ${…} where the demo fills in")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	good, err := demo(ctx, *agent, *example)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err != nil || !good {
		os.Exit(1)
	}
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
	s := &stage{dir: dir, began: time.Now(), device: "gateway-0042"}
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
	if err := s.startTPM(ctx); err != nil {
		return false, err
	}
	defer s.stopTPM()
	if err := s.equip(example); err != nil {
		return false, err
	}
	if err := s.play(ctx); err != nil {
		s.stopAgent(syscall.SIGKILL)
		return false, fmt.Errorf("%w\n%s", err, s.tail())
	}
	return s.summary(), nil
}
