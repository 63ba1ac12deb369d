//go:build !noingest

package main

import "github.com/devid-agent/devid-agent/telemetry/ingest"

func (a *agent) newIngest() runner {
	c := a.config.Telemetry.Ingest
	return &ingest.Server{Path: c.Socket, Mode: c.Mode, Spool: a.spool, Log: a.part("ingest")}
}
