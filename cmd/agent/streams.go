package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// stream is a lane with its spool: that of one stream, or the usual one of all that have no section in the file.
type stream struct {
	name  string
	spool *spool.Spool
	lane  telemetry.Lane
}

// openStreams opens the usual spool, that of each stream with a section, and those of streams that had a section once
// and still have readings: these get nothing new, and are sent behind all others.
func (a *agent) openStreams() error {
	c := a.config
	if err := a.openStream(usualLane, spoolDir(c), c.Telemetry.Spool.limits(c), telemetry.Lane{Pack: c.Telemetry.Batch.pack()}); err != nil {
		return err
	}
	a.spool = a.streams[0].spool
	own := map[string]telemetry.Store{}
	for _, name := range slices.Sorted(maps.Keys(c.Telemetry.Streams)) {
		s := c.Telemetry.Streams[name]
		lane := telemetry.Lane{Priority: priorities[s.Priority], Pack: s.Batch.pack()}
		if err := a.openStream(name, filepath.Join(streamsDir(c), name), s.limits(c), lane); err != nil {
			return err
		}
		own[name] = a.streams[len(a.streams)-1].spool
	}
	a.intake = telemetry.NewLanes(a.spool, own)
	return a.openFormer()
}

func (a *agent) openStream(name, dir string, limits spool.Limits, lane telemetry.Lane) error {
	s, err := spool.Open(dir, limits, a.world.step)
	if err != nil {
		return err
	}
	lane.Name, lane.ID, lane.Queue = name, s.ID(), s
	a.streams = append(a.streams, &stream{name, s, lane})
	return nil
}

// openFormer finds the streams whose section is gone, and whose readings wait.
func (a *agent) openFormer() error {
	entries, err := os.ReadDir(streamsDir(a.config))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return durable.Label("read", streamsDir(a.config), err)
	}
	for _, e := range entries {
		if slices.ContainsFunc(a.streams, func(s *stream) bool { return s.name == e.Name() }) || !e.IsDir() || !spool.ValidStream(e.Name()) {
			continue
		}
		if err := a.openOneFormer(filepath.Join(streamsDir(a.config), e.Name()), e.Name()); err != nil {
			return fmt.Errorf("stream %s, which has no section any more: %w", e.Name(), err)
		}
	}
	return nil
}

func (a *agent) openOneFormer(dir, name string) error {
	last := telemetry.Lane{Priority: priorities["low"] - 1}
	if err := a.openStream(name, dir, spool.Limits{}, last); err != nil {
		return err
	}
	s := a.streams[len(a.streams)-1]
	if s.spool.Stats().Depth > 0 {
		a.part("spool").Info("readings of a stream without a section wait, and will be sent", "stream", name, "readings", s.spool.Stats().Depth)
		return nil
	}
	a.streams = a.streams[:len(a.streams)-1]
	return s.spool.Close()
}

func (a *agent) lanes() []telemetry.Lane {
	lanes := make([]telemetry.Lane, len(a.streams))
	for i, s := range a.streams {
		lanes[i] = s.lane
	}
	return lanes
}

// waiting is how many readings wait for the hub, in all streams.
func (a *agent) waiting() (n uint64) {
	for _, s := range a.streams {
		n += s.spool.Stats().Depth
	}
	return n
}

// volatile reports whether readings of the stream are promised before they are on the disk.
func (a *agent) volatile(stream string) bool {
	if s, own := a.config.Telemetry.Streams[stream]; own {
		return s.Within > 0
	}
	return a.config.Telemetry.Spool.Within > 0
}
