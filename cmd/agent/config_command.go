package main

import (
	"errors"
	"fmt"
	"io"
)

// configCheckCommand reads the configuration and the files that it names, and touches nothing else.
func configCheckCommand(o options, out io.Writer) error {
	_, err := loadConfig(o.config)
	if o.json {
		all := &configError{Problems: []problem{}}
		if found, ok := errors.AsType[*configError](err); ok {
			all = found
		}
		return errors.Join(err, printJSON(out, struct {
			OK       bool         `json:"ok"`
			Problems *configError `json:"problems"`
		}{err == nil, all}))
	}
	if err == nil {
		_, err = fmt.Fprintln(out, o.config+": good")
	}
	return err
}
