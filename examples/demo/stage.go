package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/sim"
)

// stage is what the story is played on.
type stage struct {
	dir, agent, device string
	began              time.Time
	cloud              *sim.Cloud
	tpm                *exec.Cmd

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
	lines   []string // the agent's log

	scene evidence
}

// tell prints one line of the story.
func (s *stage) tell(who, format string, args ...any) {
	fmt.Printf("%6.1f s  %-8s %s\n", time.Since(s.began).Seconds(), who, fmt.Sprintf(format, args...))
}

func (s *stage) file(name string) string { return filepath.Join(s.dir, name) }

// startTPM starts a TPM 2.0 that has never been used.
func (s *stage) startTPM(ctx context.Context) error {
	if err := os.Mkdir(s.file("tpm"), 0o700); err != nil {
		return err
	}
	socket := s.file("tpm.sock")
	s.tpm = exec.CommandContext(ctx, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.file("tpm"),
		"--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl", "--flags", "not-need-init,startup-clear")
	s.tpm.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing is left running
	if err := s.tpm.Start(); err != nil {
		return fmt.Errorf("start the TPM: %w (apt-get install swtpm)", err)
	}
	for ctx.Err() == nil {
		if conn, err := net.Dial("unix", socket); err == nil {
			s.tell("tpm", "a blank TPM 2.0 (swtpm)")
			return conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

func (s *stage) stopTPM() {
	_ = s.tpm.Process.Kill()
	_ = s.tpm.Wait()
}

// equip gives the device what the factory gives it: a bootstrap certificate, roots and a configuration.
func (s *stage) equip(example string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	chain, err := s.cloud.Bootstrap(s.device, key.Public(), 24*time.Hour)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var certificate []byte
	for _, c := range chain {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		return err
	}
	values := map[string]string{
		"TPM": "swtpm:path=" + s.file("tpm.sock"), "ID_SCOPE": sim.IDScope, "DPS": s.cloud.DPSAddr(), "HUB": s.cloud.HubAddr(),
	}
	return errors.Join(
		os.Mkdir(s.file("run"), 0o700),
		os.WriteFile(s.file("bootstrap.pem"), certificate, 0o644),
		os.WriteFile(s.file("bootstrap.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(s.file("roots.pem"), s.cloud.RootsPEM(), 0o644),
		os.WriteFile(s.file("agent.yaml"), []byte(os.Expand(string(text), func(name string) string { return values[name] })), 0o644),
	)
}

// startAgent starts the agent as a process, and follows its log.
func (s *stage) startAgent() error {
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
func (s *stage) over() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// stopAgent sends the signal and waits for the end.
func (s *stage) stopAgent(sig syscall.Signal) {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.mu.Unlock()
	if process == nil {
		return
	}
	_ = process.Process.Signal(sig)
	<-ended
}

// entry is a line of the agent's log, as far as the story needs it.
type entry struct {
	Level, Msg string
	Err        string
	Gap        time.Duration
	Identity   struct {
		Gen    uint64
		Key    string
		Serial string
		Hub    string
	}
}

func (s *stage) follow(log io.Reader) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		s.mu.Lock()
		s.lines = append(s.lines, lines.Text())
		s.mu.Unlock()
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			s.tell("agent", "%s", lines.Text())
			continue
		}
		s.narrate(e)
	}
}

func (s *stage) narrate(e entry) {
	switch e.Msg {
	case "agent starts":
		s.tell("agent", "starts")
	case "switched identity":
		s.mu.Lock()
		s.scene.gaps = append(s.scene.gaps, gap{e.Identity.Gen, e.Gap})
		s.mu.Unlock()
	case "identity advanced":
		s.tell("agent", "is now generation %d: key %s in the TPM, certificate %s", e.Identity.Gen, e.Identity.Key, e.Identity.Serial)
	case "connected":
		s.tell("agent", "connected to %s as generation %d", e.Identity.Hub, e.Identity.Gen)
	default:
		if e.Level == "WARN" || e.Level == "ERROR" {
			s.tell("agent", "%s: %s", e.Msg, e.Err)
		}
	}
}

// tail is the end of the agent's log, for when the story went wrong.
func (s *stage) tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines[max(0, len(s.lines)-20):], "\n")
}
