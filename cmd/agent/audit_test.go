package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/devid-agent/devid-agent/sim"
)

// audit says everything that is wrong with the world: what was promised and is not there, who is not connected, what
// was issued and is used by nobody, which keys nobody names.
func (g *gateway) audit() []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	got, alarms := map[uint64]string{}, map[uint64]string{}
	for _, m := range g.cloud.Received(gatewayID) {
		switch m.Properties["stream"] {
		case laneFast:
			continue
		case laneAlarms:
			unpack(m, alarms)
			continue
		}
		seq, err := strconv.ParseUint(m.Properties["seq"], 10, 64)
		if err != nil {
			bad("a message has no number: %v", m.Properties)
		}
		got[seq] = string(m.Body)
	}
	missing := func(stream string, promised, got map[uint64]string) {
		for seq, body := range promised {
			if got[seq] != body {
				bad("reading %d of %s was promised as %s, and the cloud has %q", seq, stream, body, got[seq])
			}
		}
	}
	missing("press", g.promised, got)
	missing(laneAlarms, g.alarms, alarms)
	if g.lost != nil {
		bad("an identity was lost: %v", g.lost)
	}
	if !g.cloud.Online(gatewayID) {
		bad("the device is not connected")
	}
	current, pending, err := identityLook(g.config)
	if err != nil || current == nil {
		bad("the device is nobody: %v", err)
		return wrong
	}
	newest := current.Generation
	named := []string{current.Key}
	if pending != nil {
		newest, named = pending.Generation, append(named, pending.Key)
	}
	if orphans := len(g.cloud.Issued(gatewayID)) - int(newest); orphans > 1 {
		bad("%d certificates were issued and never used", orphans)
	}
	names, err := g.keys.Names(context.Background())
	if err != nil {
		bad("keys: %v", err)
	}
	for _, name := range names {
		if !slices.Contains(named, name) {
			bad("key %s is named by no identity", name)
		}
	}
	return wrong
}

// unpack notes the readings of a message that is a pack, by number: each counts from the first, which the message has.
func unpack(m sim.Message, got map[uint64]string) {
	var readings []struct {
		N uint64
		V json.RawMessage
	}
	first, err := strconv.ParseUint(m.Properties["seq"], 10, 64)
	if err != nil || json.Unmarshal(m.Body, &readings) != nil {
		return // then they are missing
	}
	for _, r := range readings {
		got[first+r.N] = string(r.V)
	}
}
