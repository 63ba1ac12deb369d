package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/devid-agent/devid-agent/sim"
)

func TestFault55ALogThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	c := &Config{}
	c.Log.Format = "json"
	log := newLog(c, slog.LevelInfo, w)
	const lines = 5000 // a pipe holds 64 KB
	for i := range lines {
		log.Info("a reading came", "number", i)
	}
	text := make([]byte, 1<<20)
	n, err := r.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	kept := bytes.Count(text[:n], []byte("\n"))
	log.Info("it is read again")
	if n, err = r.Read(text); err != nil {
		t.Fatal(err)
	}
	if got := string(text[:n]); kept == lines || !strings.Contains(got, `"lines":`) || !strings.Contains(got, "read again") {
		t.Errorf("%d lines came, and then %s", kept, got)
	}
}

// lifeOf names the configuration of an agent whose process is the one of this test.
const lifeOf = "AGENT_WITHOUT_A_READER"

func TestFault55TheEndOfWhoeverReadsTheLogIsNotTheEndOfTheAgent(t *testing.T) {
	if file := os.Getenv(lifeOf); file != "" {
		os.Args = []string{programName, "run", "--config", file}
		main()
	}
	d := newDesk(t, sim.Temper{}, "log: {level: debug}\n")
	d.append(azure(d.cloud))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFault55TheEndOfWhoever")
	agent.Env, agent.Stderr = append(os.Environ(), lifeOf+"="+d.file), w
	agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := errors.Join(agent.Start(), w.Close(), r.Close()); err != nil {
		t.Fatal(err)
	}
	d.until("the device is online", func() bool { s := d.status(); return s.Hub != nil && s.Hub.State == "online" })
	if err := errors.Join(agent.Process.Signal(syscall.SIGTERM), agent.Wait()); err != nil {
		t.Error(err)
	}
}
