package main

import (
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/sensors"
)

// newSampler reads what the file names: all of the machine where it names nothing.
func (a *agent) newSampler() (*telemetry.Sampler, error) {
	c := a.config.Telemetry.Sensors
	s := &telemetry.Sampler{Spool: a.intake, Every: c.Interval, Log: a.part("sampler")}
	if len(c.Sources) > 0 || len(c.Each) == 0 {
		s.Sources = sensors.Pick(c.Sources...)
	}
	for _, p := range c.Each {
		probe, err := newProbe(p)
		if err != nil {
			return nil, err
		}
		s.Probes = append(s.Probes, probe)
	}
	return s, nil
}
