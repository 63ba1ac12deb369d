package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
	"github.com/devid-agent/devid-agent/sim"
)

// device is its name in the cloud.
const device = "gateway-0042"

// story is what happens, and what it happens to.
type story struct {
	dir, agent string
	began      time.Time
	cloud      *sim.Cloud
	log        stage.Log

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}

	scene evidence
}

// tell prints one line of the story.
func (s *story) tell(who, format string, args ...any) {
	fmt.Printf("%6.1f s  %-8s %s\n", time.Since(s.began).Seconds(), who, fmt.Sprintf(format, args...))
}

func (s *story) file(name string) string { return filepath.Join(s.dir, name) }

// equip gives the device what the factory gives it: a bootstrap certificate, roots and a configuration.
func (s *story) equip(example string) error {
	values := map[string]string{
		"TPM": "swtpm:path=" + s.file("tpm.sock"), "ID_SCOPE": sim.IDScope, "DPS": s.cloud.DPSAddr(), "HUB": s.cloud.HubAddr(),
	}
	return errors.Join(os.Mkdir(s.file("run"), 0o700), stage.Papers(s.cloud, device, s.dir), stage.Configure(s.file("agent.yaml"), example, values))
}

// startAgent starts the agent as a process, and follows its log.
func (s *story) startAgent() error {
	cmd := exec.Command(s.agent, "run", "--config", s.file("agent.yaml"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.mu.Lock()
	s.process, s.ended = cmd, ended
	s.mu.Unlock()
	go func() {
		defer close(ended)
		s.follow(log)
		_ = cmd.Wait() // how it ended is seen in what the cloud received
	}()
	return nil
}

// over is closed when the agent's process has ended.
func (s *story) over() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// stopAgent sends the signal and waits for the end.
func (s *story) stopAgent(sig syscall.Signal) {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.mu.Unlock()
	if process == nil {
		return
	}
	_ = process.Process.Signal(sig)
	<-ended
}

func (s *story) follow(log io.Reader) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		e, ok := s.log.Hear(lines.Text())
		if !ok {
			s.tell("agent", "%s", lines.Text())
			continue
		}
		if e.Msg == "switched identity" {
			s.mu.Lock()
			s.scene.gaps = append(s.scene.gaps, gap{e.Identity.Gen, e.Gap})
			s.mu.Unlock()
		}
		if words := e.Words(); words != "" {
			s.tell("agent", "%s", words)
		}
	}
}
