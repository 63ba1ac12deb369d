package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
)

// serviceProgram knows the init systems. It is no part of the agent: it would cost every gateway 128 KB of flash.
const serviceProgram = "devid-service"

// serviceCommand hands over to devid-service, beside this program or in PATH, and does not come back.
func serviceCommand(_ context.Context, o *commands.Options, _ io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	helper := filepath.Join(filepath.Dir(self), serviceProgram)
	if _, err := os.Stat(helper); errors.Is(err, os.ErrNotExist) {
		helper, err = exec.LookPath(serviceProgram)
		if err != nil {
			return fault.AskOperator(err, "use systemctl where a package installed the agent; elsewhere put "+serviceProgram+" of the same release beside it")
		}
	}
	return syscall.Exec(helper, []string{serviceProgram, o.Args[0], "--program", self}, os.Environ())
}
