package telemetry_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// commits is a store that remembers what came together.
type commits struct {
	all  [][]string
	next uint64
	full error
}

func (c *commits) Append(ctx context.Context, stream string, body []byte) (uint64, error) {
	return c.Put(ctx, spool.Reading{Stream: stream, Body: body})
}

func (c *commits) Put(_ context.Context, readings ...spool.Reading) (uint64, error) {
	if c.full != nil {
		return 0, c.full
	}
	var bodies []string
	for _, r := range readings {
		bodies = append(bodies, string(r.Body))
	}
	c.all = append(c.all, bodies)
	first := c.next + 1
	c.next += uint64(len(readings))
	return first, nil
}

func TestEachReadingGoesToTheLaneOfItsStreamInOneCommit(t *testing.T) {
	usual, alarms := &commits{}, &commits{next: 40}
	lanes := telemetry.NewLanes(usual, map[string]telemetry.Store{"alarms": alarms})
	if seq, err := lanes.Append(t.Context(), "alarms", []byte("fire")); seq != 41 || err != nil {
		t.Errorf("%d, %v", seq, err)
	}
	select {
	case <-lanes.News():
	default:
		t.Error("nobody is told")
	}
	mixed := []spool.Reading{{Stream: "a", Body: []byte("1")}, {Stream: "alarms", Body: []byte("2")}, {Stream: "b", Body: []byte("3")}}
	if seq, err := lanes.Put(t.Context(), mixed...); seq != 1 || err != nil {
		t.Errorf("%d, %v", seq, err)
	}
	if len(usual.all) != 1 || !slices.Equal(usual.all[0], []string{"1", "3"}) || len(alarms.all) != 2 || !slices.Equal(alarms.all[1], []string{"2"}) {
		t.Errorf("usual %v, alarms %v", usual.all, alarms.all)
	}
	alarms.full = errors.New("full")
	if _, err := lanes.Put(t.Context(), mixed...); !errors.Is(err, alarms.full) {
		t.Errorf("a lane that refuses is not told: %v", err)
	}
}
