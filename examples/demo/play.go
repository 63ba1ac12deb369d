package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// evidence is what the summary is made of.
type evidence struct {
	check    checked
	final    reported
	promised []uint64 // numbers that the agent gave to readings of another program, with a 200
	refused  int      // readings that it did not take: the agent was down
	gaps     []gap
}

type gap struct {
	generation uint64
	length     time.Duration
}

// checked is what `devid-agent check --json` says.
type checked struct {
	OK     bool
	Checks []struct {
		Name, Detail string
		OK           bool
	}
	Key *struct {
		Place, Algorithm, Export string
		Attributes               []string
		Refused                  bool
	}
}

// reported is what `devid-agent status --json` says.
type reported struct {
	Written  time.Time
	Identity *struct {
		DeviceID   string `json:"device_id"`
		Hub, Key   string
		Generation uint64
	}
	Spool struct {
		LastSeq uint64 `json:"last_seq"`
		Depth   int    `json:"depth"`
		Dropped uint64 `json:"dropped"`
		Damaged uint64 `json:"damaged"`
	}
}

// play is the story: enroll, stream, renew twice, die, come back.
func (s *stage) play(ctx context.Context) error {
	if err := s.startAgent(); err != nil {
		return err
	}
	program, stopProgram := context.WithCancel(ctx)
	defer stopProgram()
	var wait sync.WaitGroup
	wait.Go(func() { s.produce(program) })
	if err := s.until(ctx, "the device enrolls", func() bool { return s.cloud.Online(s.device) }); err != nil {
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
func (s *stage) die(ctx context.Context) error {
	before := len(s.cloud.Received(s.device))
	if err := s.until(ctx, "readings", func() bool { return len(s.cloud.Received(s.device)) > before+20 }); err != nil {
		return err
	}
	s.stopAgent(syscall.SIGKILL)
	s.tell("demo", "killed the agent with SIGKILL in mid-stream")
	time.Sleep(time.Second)
	before = len(s.cloud.Received(s.device))
	if err := s.startAgent(); err != nil {
		return err
	}
	return s.until(ctx, "readings after the restart", func() bool { return len(s.cloud.Received(s.device)) > before+40 })
}

// settle waits until the agent has sent all that it holds, and reads its last status.
func (s *stage) settle(ctx context.Context) error {
	stopped := time.Now() // what the agent said before is not its last word
	err := s.until(ctx, "the spool to empty", func() bool {
		out, err := s.command(ctx, "status", "--json")
		final := &s.scene.final
		return err == nil && json.Unmarshal(out, final) == nil && final.Written.After(stopped) && final.Identity != nil &&
			s.holds(final.Spool.LastSeq)
	})
	s.stopAgent(syscall.SIGTERM)
	return err
}

// holds reports whether the cloud has got the reading of that number.
func (s *stage) holds(seq uint64) bool {
	for _, m := range s.cloud.Received(s.device) {
		if m.Properties["seq"] == fmt.Sprint(seq) {
			return true
		}
	}
	return false
}

// renewals are the changes of identity after the first.
func (s *stage) renewals() []gap {
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
func (s *stage) inspect(ctx context.Context) error {
	return s.until(ctx, "the check", func() bool {
		out, err := s.command(ctx, "check", "--json")
		return err == nil && json.Unmarshal(out, &s.scene.check) == nil && s.scene.check.Key != nil
	})
}

func (s *stage) command(ctx context.Context, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, s.agent, append(args, "--config", s.file("agent.yaml"))...).Output()
}

func (s *stage) until(ctx context.Context, what string, is func() bool) error {
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

// produce is another program on the gateway: twenty readings a second over the agent's socket. What is answered with
// 200 is promised; everything else is this program's to send again or to give up.
func (s *stage) produce(ctx context.Context) {
	socket := s.file("run/ingest.sock")
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		seq, err := post(ctx, client, n)
		switch {
		case err == nil:
			s.scene.promised = append(s.scene.promised, seq)
		case ctx.Err() == nil:
			s.scene.refused++
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func post(ctx context.Context, client *http.Client, n int) (seq uint64, err error) {
	body := fmt.Appendf(nil, `{"press":"p7","cycle":%d}`, n)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/v1/telemetry/press", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var answer struct{ Seq uint64 }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return 0, errors.New(response.Status)
	}
	return answer.Seq, nil
}
