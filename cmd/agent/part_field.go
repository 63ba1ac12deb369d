//go:build !nofield

package main

import (
	"path/filepath"

	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/sensors"
)

const builtField = true

func newProbe(c probeConfig) (telemetry.Probe, error) {
	source, err := sensors.New(sensors.Choice{Source: c.Source, Names: c.Names, Command: sensors.Command{Args: c.Command, Env: c.Env, Dir: c.Dir}})
	keep, _ := telemetry.KeepNamed(c.Keep) // none is the last
	return telemetry.Probe{
		Source: source, Name: c.As, Stream: c.Stream, Unit: c.Unit, Only: c.Only, Every: c.Every, Report: c.Report, Keep: keep, Bounds: c.Bounds,
		Deadband: c.Deadband, Heartbeat: c.Heartbeat, Timeout: c.Timeout,
	}, err
}

// addTails follows the files that the configuration names.
func (a *agent) addTails() error {
	if len(a.config.Telemetry.Tail) == 0 {
		return nil
	}
	place, err := durable.Open(filepath.Join(a.config.Device.State, "tail"), a.world.step)
	if err != nil {
		return err
	}
	for _, c := range a.config.Telemetry.Tail {
		a.intakes["tail "+c.File] = &sensors.Tail{
			File: c.File, Stream: c.Stream, Format: sensors.Format(c.Format), FromStart: c.From == "start",
			Spool: a.intake, Place: place, Log: a.part("tail"),
		}
	}
	return nil
}
