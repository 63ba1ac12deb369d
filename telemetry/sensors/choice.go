package sensors

import (
	"errors"
	"fmt"

	"github.com/devid-agent/devid-agent/telemetry"
)

// Choice is a source with what it has to know.
type Choice struct {
	Source  string   // one of Kinds
	Names   []string // of process and service
	Command Command  // of exec
}

// Kinds lists all sources that New makes: those of Names, and those that have to know something.
func Kinds() []string { return append(Names(), "process", "service", "exec") }

// New returns the source. The error says what it lacks, or which source there is not.
func New(c Choice) (telemetry.Source, error) { return Machine{}.New(c) }

// New returns the source on m.
func (m Machine) New(c Choice) (telemetry.Source, error) {
	switch c.Source {
	case "process":
		return m.Processes(c.Names...)
	case "service":
		return m.Services(c.Names...)
	case "exec":
		if len(c.Command.Args) == 0 {
			return nil, errors.New("exec: no command")
		}
		return c.Command, nil
	}
	if c.Source != "" {
		if picked := m.Pick(c.Source); len(picked) == 1 {
			return picked[0], nil
		}
	}
	return nil, fmt.Errorf("%s is no source", quote(c.Source))
}
