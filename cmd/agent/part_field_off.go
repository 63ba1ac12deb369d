//go:build nofield

package main

import "github.com/devid-agent/devid-agent/telemetry"

const builtField = false

func newProbe(probeConfig) (telemetry.Probe, error) {
	return telemetry.Probe{}, notBuiltIn("sensors with a section of their own", "nofield")
}

func (a *agent) addTails() error {
	if len(a.config.Telemetry.Tail) == 0 {
		return nil
	}
	return notBuiltIn("files that are followed", "nofield")
}
