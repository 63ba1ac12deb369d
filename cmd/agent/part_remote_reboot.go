//go:build !noremote

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// reboot asks systemd, which asks polkit whether the agent's user may.
func reboot() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "--no-ask-password", "reboot").CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fault.AskOperator(err, "without systemd, let a program of yours that may reboot answer a method of its own: see docs/remote.md")
	case err != nil:
		return fault.AskOperator(fmt.Errorf("systemctl reboot: %w: %s", err, strings.TrimSpace(string(out))),
			"allow org.freedesktop.login1.reboot to the agent's user by a polkit rule: see docs/remote.md")
	}
	return nil
}
