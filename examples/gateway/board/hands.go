package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
)

// order is line n from the host: a command for the shell.
type order struct {
	N     int
	Shell string
}

// done is the line that answers it.
type done struct {
	N    int
	Out  string // standard output and error
	Code int
}

// lendHands does what the host says, one order after the other. It says first that the board is up.
func lendHands() error {
	wire, err := openWire("hands")
	if err != nil {
		return err
	}
	answer := json.NewEncoder(wire)
	if err := answer.Encode(done{Out: "up"}); err != nil {
		return err
	}
	for lines := bufio.NewReader(wire); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			return err
		}
		if err := answer.Encode(do(o)); err != nil {
			return err
		}
	}
}

func do(o order) done {
	cmd := exec.Command("/bin/bash", "-c", o.Shell)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if code := new(exec.ExitError); err != nil && !errors.As(err, &code) {
		return done{o.N, err.Error(), -1}
	}
	return done{o.N, string(out), cmd.ProcessState.ExitCode()}
}

// sendLog follows the journal of the agent.
func sendLog() error {
	wire, err := openWire("log")
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/journalctl", "--follow", "--output=cat", "--unit=devid-agent", "--lines=all", "--boot")
	cmd.Stdout = wire
	return cmd.Run()
}
