package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/examples/stage"
)

// evidence is what the summary is made of.
type evidence struct {
	check    stage.Check
	final    stage.Status
	promised []uint64 // numbers that the agent gave to readings of another program, with a 200
	refused  int      // readings that it did not take: the agent was down
	gaps     []gap
}

type gap struct {
	generation uint64
	length     time.Duration
}

// play is the story: enroll, stream, renew twice, die, come back.
func (s *story) play(ctx context.Context) error {
	if err := s.startAgent(); err != nil {
		return err
	}
	program, stopProgram := context.WithCancel(ctx)
	defer stopProgram()
	var wait sync.WaitGroup
	wait.Go(func() { s.produce(program) })
	if err := s.until(ctx, "the device enrolls", func() bool { return s.cloud.Online(device) }); err != nil {
		return err
	}
	if err := s.inspect(ctx); err != nil {
		return err
	}
	for n := 1; n <= 2; n++ {
		s.tell("demo", "readings flow; waiting for renewal %d of 2", n)
		if err := s.until(ctx, "a renewal", func() bool { return len(s.renewals()) >= n }); err != nil {
			return err
		}
	}
	if err := s.die(ctx); err != nil {
		return err
	}
	stopProgram()
	wait.Wait()
	return s.settle(ctx)
}

// die kills the agent in mid-stream, and starts it again.
func (s *story) die(ctx context.Context) error {
	before := len(s.cloud.Received(device))
	if err := s.until(ctx, "readings", func() bool { return len(s.cloud.Received(device)) > before+20 }); err != nil {
		return err
	}
	s.stopAgent(syscall.SIGKILL)
	s.tell("demo", "killed the agent with SIGKILL in mid-stream")
	time.Sleep(time.Second)
	before = len(s.cloud.Received(device))
	if err := s.startAgent(); err != nil {
		return err
	}
	return s.until(ctx, "readings after the restart", func() bool { return len(s.cloud.Received(device)) > before+40 })
}

// settle waits until the agent has sent all that it holds, and reads its last status.
func (s *story) settle(ctx context.Context) error {
	stopped := time.Now() // what the agent said before is not its last word
	err := s.until(ctx, "the spool to empty", func() bool {
		out, err := s.command(ctx, "status", "--json")
		final := &s.scene.final
		return err == nil && json.Unmarshal(out, final) == nil && final.Written.After(stopped) && final.Identity != nil &&
			stage.Holds(s.cloud.Received(device), final.Spool.LastSeq)
	})
	s.stopAgent(syscall.SIGTERM)
	return err
}

// renewals are the changes of identity after the first.
func (s *story) renewals() []gap {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []gap
	for _, g := range s.scene.gaps {
		if g.generation > 1 {
			out = append(out, g)
		}
	}
	return out
}

// inspect lets the agent ask the TPM about the key, once there is one.
func (s *story) inspect(ctx context.Context) error {
	return s.until(ctx, "the check", func() bool {
		out, err := s.command(ctx, "check", "--json")
		return err == nil && json.Unmarshal(out, &s.scene.check) == nil && s.scene.check.Key != nil
	})
}

func (s *story) command(ctx context.Context, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, s.agent, append(args, "--config", s.file("agent.yaml"))...).Output()
}

func (s *story) until(ctx context.Context, what string, is func() bool) error {
	for !is() {
		select {
		case <-s.over():
			return fmt.Errorf("the agent ended while we waited for %s", what)
		case <-ctx.Done():
			return fmt.Errorf("waited too long for %s: %w", what, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// produce is another program on the gateway: twenty readings a second over the agent's socket.
func (s *story) produce(ctx context.Context) {
	program := stage.NewProgram(s.file("run/ingest.sock"), 1)
	defer program.Close()
	for n := 0; ctx.Err() == nil; n++ {
		seq, err := program.Give(ctx, fmt.Appendf(nil, `{"press":"p7","cycle":%d}`, n))
		switch {
		case err == nil:
			s.scene.promised = append(s.scene.promised, seq)
		case ctx.Err() == nil:
			s.scene.refused++
		}
		time.Sleep(50 * time.Millisecond)
	}
}
