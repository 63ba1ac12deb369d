package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
)

func TestServiceSaysWhatToDoWhereItsProgramIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := serviceCommand(context.Background(), &commands.Options{Args: []string{"status"}}, io.Discard)
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(fault.Hint(err), serviceProgram) {
		t.Errorf("%v; do: %s", err, fault.Hint(err))
	}
}
