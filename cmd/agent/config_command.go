package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/devid-agent/devid-agent/internal/commands"
)

// configCheckCommand reads the configuration and the files that it names, and touches nothing else.
func configCheckCommand(o *commands.Options, out io.Writer) error {
	_, err := loadConfig(o.Config)
	if o.JSON {
		all := &configError{Problems: []problem{}}
		if found, ok := errors.AsType[*configError](err); ok {
			all = found
		}
		return errors.Join(err, commands.PrintJSON(out, struct {
			OK       bool         `json:"ok"`
			Problems *configError `json:"problems"`
		}{err == nil, all}))
	}
	if err == nil {
		_, err = fmt.Fprintln(out, o.Config+": good")
	}
	return err
}
