package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/station"
)

// progress is one line for each step of each device.
func progress(w io.Writer, i station.Item) {
	device := i.Device
	if device == "" {
		device = "?"
	}
	if i.Error == "" {
		fmt.Fprintf(w, "%s  %s  %s  %s\n", time.Now().Format(time.TimeOnly), i.Target, device, i.State)
		return
	}
	fmt.Fprintf(w, "%s  %s  %s  stays %s: %s\n", time.Now().Format(time.TimeOnly), i.Target, device, i.State, i.Error)
	if i.Hint != "" {
		fmt.Fprintln(w, "  do:", i.Hint)
	}
}

func summary(r station.Report, files []string, a *station.Authority, o *commands.Options, out io.Writer) error {
	if o.JSON {
		return commands.PrintJSON(out, r)
	}
	slices.Sort(files)
	by := "not signed: no --ca was given"
	if a != nil {
		by = "signed by " + a.Certificate().Subject.String()
	}
	_, err := fmt.Fprintf(out, "%d of %d devices are finished\n%s, %s\n", r.Finished, r.Devices, strings.Join(files, ", "), by)
	return err
}
