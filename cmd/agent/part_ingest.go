//go:build !noingest

package main

import (
	"context"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/telemetry/ingest"
)

const builtIngest = true

// newIngest returns what takes readings from other programs, by name.
func (a *agent) newIngest() map[string]runner {
	c := a.config.Telemetry.Ingest
	s := &ingest.Server{
		Path: c.Socket, Mode: c.Mode, Spool: a.intake, Volatile: a.volatile, Permissions: permissions(c.Permissions),
		Quota: ingest.Quota{Readings: int64(c.Quota.Readings), Bytes: c.Quota.Bytes}, MaxBatch: c.MaxBatch, InHand: c.InHand,
		Conns: c.Connections, Log: a.part("ingest"),
	}
	a.taken = func() *ingestStatus {
		r := s.Readings()
		return &ingestStatus{r.Taken, r.Refused, r.Lost, r.Ignored}
	}
	if a.cloud != nil {
		s.Cloud = a.cloud.handler()
	}
	all := map[string]runner{}
	if c.Socket != "" {
		all["ingest"] = s
	}
	if c.MQTT.Listen != "" {
		all["mqtt"] = listener{a, s}
	}
	return all
}

func permissions(list []permissionConfig) []ingest.Permission {
	all := make([]ingest.Permission, len(list))
	for i, p := range list {
		all[i] = ingest.Permission{User: p.User, Group: p.Group, Login: p.Login, Streams: p.Streams}
	}
	return all
}

func checkTopic(t topicConfig) error {
	return ingest.Topic{Filter: t.Filter, Stream: t.Stream, Type: t.Type}.Check()
}

// listener speaks MQTT. Its passwords are read each time it starts.
type listener struct {
	*agent
	server *ingest.Server
}

// Run implements runner.
func (l listener) Run(ctx context.Context) error {
	c := l.config.Telemetry.Ingest.MQTT
	m := &ingest.MQTT{Server: l.server, Listen: c.Listen, Mode: c.Mode, Conns: c.Connections, Log: l.part("mqtt")}
	for _, t := range c.Topics {
		m.Topics = append(m.Topics, ingest.Topic{Filter: t.Filter, Stream: t.Stream, Type: t.Type})
	}
	if c.Passwords != "" {
		text, err := readSecret("telemetry.ingest.mqtt.passwords", c.Passwords)
		if err != nil {
			return err
		}
		if m.Users, err = ingest.Passwords(text); err != nil {
			return fault.AskOperator(err, "write a line user:password for each")
		}
	}
	return m.Run(ctx)
}
