package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/station"
)

// target is one device of the command line.
type target struct{ name, device string }

func (e *enroll) targets(hosts []string) ([]target, error) {
	if e.order == "" {
		return nil, fault.AskOperator(errors.New("which order?"), "name a directory for its journal and its report: --order DIR")
	}
	ways := 0
	for _, given := range []bool{len(hosts) > 0, e.folder != "", e.list != ""} {
		if given {
			ways++
		}
	}
	if ways == 0 && len(e.drop) > 0 {
		return nil, nil
	}
	if ways != 1 {
		return nil, fault.AskOperator(errors.New("which devices?"), "give hosts, or --list FILE, or --folder DIR")
	}
	switch {
	case e.folder != "":
		names, err := station.Folder{Dir: e.folder}.Targets()
		return bare(names), err
	case e.list != "":
		return readTargets(e.list)
	}
	all := bare(hosts)
	for _, t := range all {
		if err := station.CheckHost(t.name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func bare(names []string) []target {
	var all []target
	for _, n := range names {
		all = append(all, target{name: n})
	}
	return all
}

// readTargets reads lines of HOST,DEVICE. A first line that says so is a heading; # begins a comment.
func readTargets(file string) ([]target, error) {
	const remedy = "write a line HOST,DEVICE for each device"
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.AskOperator(err, remedy)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comment, r.FieldsPerRecord, r.TrimLeadingSpace = '#', 2, true
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%s: %w", file, err), remedy)
	}
	var all []target
	for i, row := range rows {
		t := target{strings.TrimSpace(row[0]), strings.TrimSpace(row[1])}
		if i == 0 && strings.EqualFold(t.name, "host") {
			continue
		}
		if err := station.CheckHost(t.name); err != nil || t.device == "" {
			return nil, fault.AskOperator(fmt.Errorf("%s: %q", file, row), remedy)
		}
		if slices.ContainsFunc(all, func(a target) bool { return a.name == t.name || a.device == t.device }) {
			return nil, fault.AskOperator(fmt.Errorf("%s: %q comes twice", file, row), "correct the list")
		}
		all = append(all, t)
	}
	if len(all) == 0 {
		return nil, fault.AskOperator(fmt.Errorf("%s has no line", file), remedy)
	}
	return all, nil
}
