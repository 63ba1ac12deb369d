package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/devid-agent/devid-agent/fault"
)

// Status is what the twin is told of the device, where it changes.
type Status struct {
	Release  string    // of the agent
	Key      string    // name of the key in force
	Grade    string    // of the hardware that it is in
	NotAfter time.Time // of the certificate; zero = none
	Depth    uint64    // readings that wait for the hub; told by its first digit
	Dropped  uint64    // readings that were lost for want of room, likewise
	// More is anything else: strings, numbers, booleans, and objects of them. Each change of it costs a message.
	More map[string]any
}

const (
	maxReported = 24 << 10 // of the 32 KB that all have together
	maxInteger  = 4503599627370495
)

// report tells the twin what it does not know yet.
func (r *Remote) report(ctx context.Context, s Session) error {
	want := r.desired.result()
	if r.config.Status != nil {
		want["status"] = r.config.Status().object()
	}
	if b, err := json.Marshal(want); err != nil || len(b) > maxReported {
		delete(want, "status")
	}
	want = plainJSON(want)
	change := difference(r.known, want)
	if change == nil {
		return nil
	}
	patch, err := json.Marshal(map[string]any{r.config.Key: change})
	if err != nil {
		return err
	}
	if bytes.Equal(patch, r.refused) {
		return nil
	}
	_, err = s.Report(ctx, patch)
	if fault.Of(err) == fault.Permanent { // settings are followed all the same, and the next report may be better
		r.config.Log.Error("the twin does not take a report", "err", err)
		r.refused = patch
		return nil
	}
	if err == nil {
		r.known, r.refused = want, nil
	}
	return err
}

// plainJSON is v as it comes back from a twin.
func plainJSON(v map[string]any) map[string]any {
	b, _ := json.Marshal(v)
	plain, _ := parseObject(b)
	return plain
}

func (s Status) object() map[string]any {
	all := map[string]any{}
	for k, v := range s.More {
		put(all, k, v, 3)
	}
	put(all, "release", s.Release, 0)
	put(all, "key", s.Key, 0)
	put(all, "hardware", s.Grade, 0)
	if !s.NotAfter.IsZero() {
		all["not_after"] = s.NotAfter.UTC().Format(time.RFC3339)
	}
	all["depth"] = coarse(s.Depth)
	all["dropped"] = coarse(s.Dropped)
	return all
}

// put adds v where it is fit for a twin ("Understand and use device twins": keys without control characters, '.', '$' and
// space, ten levels, integers of 53 bits). What is empty is left out, as null would remove it.
func put(all map[string]any, k string, v any, levels int) {
	k = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f && r <= 0x9f || r == '.' || r == '$' {
			return '_'
		}
		return r
	}, clean(k))
	switch v := v.(type) {
	case nil:
	case string:
		if v != "" {
			all[k] = clean(v)
		}
	case uint64:
		all[k] = min(v, maxInteger)
	case map[string]any:
		below := map[string]any{}
		for name, inner := range v {
			if levels > 0 {
				put(below, name, inner, levels-1)
			}
		}
		all[k] = below
	case bool, int, int64, float64, []string:
		all[k] = v
	}
}

// coarse keeps the first digit: a count that moves with every reading shall not cost a message each time.
func coarse(n uint64) uint64 {
	unit := uint64(1)
	for n/unit >= 10 {
		unit *= 10
	}
	return min(n/unit*unit, maxInteger)
}
