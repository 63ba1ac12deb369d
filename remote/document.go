package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/devid-agent/devid-agent/fault"
)

// patch is a change of what is desired, as the hub tells it.
type patch struct {
	version int64
	body    []byte
}

// Desired takes a change of the desired properties. It does not block.
func (r *Remote) Desired(version int64, body []byte) {
	select {
	case r.patches <- patch{version, body}:
	default:
		ring(r.missed)
	}
}

var errDocument = errors.New("the twin is not as documented")

// read takes the whole twin. What it says is the truth, also where its version is lower than one that was seen: then the
// twin has been made anew.
func (r *Remote) read(ctx context.Context, s Session) error {
	r.forget()
	document, err := s.Twin(ctx)
	if err != nil {
		return err
	}
	t, err := parseTwin(document, r.config.Key)
	if err != nil {
		return fault.As(fault.Permanent, err)
	}
	r.known, r.refused = t.reported, nil
	r.desired.reached()
	r.desired.want(t.version, t.desired)
	return nil
}

// forget drops the changes that were told before the twin is read: they are in it, or were of one that is no more.
func (r *Remote) forget() {
	for {
		select {
		case <-r.patches:
		case <-r.missed:
		default:
			return
		}
	}
}

// patch takes one change, and reports whether the twin is known after it. A change that is older than what was read is
// passed over; one that does not follow on it means that another was missed.
func (r *Remote) patch(p patch) bool {
	switch {
	case p.version <= r.desired.version:
		return true
	case p.version != r.desired.version+1:
		return false
	}
	all, err := parseObject(p.body)
	if err != nil {
		return false
	}
	change, told := all[r.config.Key]
	section := r.desired.section
	if inner, is := change.(map[string]any); is {
		section = merged(section, inner)
	} else if told {
		section = nil // removed, or replaced by what is no object
	}
	r.desired.want(p.version, section)
	return true
}

// twin is our part of the document.
type twin struct {
	version           int64 // of all that is desired
	desired, reported map[string]any
}

// maxDocument is more than a twin can have, or a change of it: 32 KB for each half ("Understand and use device twins").
const maxDocument = 256 << 10

func parseTwin(document []byte, key string) (twin, error) {
	if len(document) > maxDocument {
		return twin{}, fmt.Errorf("%w: %d bytes", errDocument, len(document))
	}
	var all struct {
		Desired  map[string]json.RawMessage `json:"desired"`
		Reported map[string]json.RawMessage `json:"reported"`
	}
	if err := json.Unmarshal(document, &all); err != nil {
		return twin{}, fmt.Errorf("%w: %w", errDocument, err)
	}
	var t twin
	if err := json.Unmarshal(all.Desired["$version"], &t.version); err != nil {
		return twin{}, fmt.Errorf("%w: desired $version: %w", errDocument, err)
	}
	t.desired, _ = parseObject(all.Desired[key]) // what is no object is no change
	t.reported, _ = parseObject(all.Reported[key])
	if t.reported == nil {
		t.reported = map[string]any{}
	}
	return t, nil
}

// parseObject reads one JSON object; nil is null.
func parseObject(b []byte) (map[string]any, error) {
	if len(b) > maxDocument {
		return nil, fmt.Errorf("%w: %d bytes", errDocument, len(b))
	}
	var object map[string]any
	if err := json.Unmarshal(b, &object); err != nil {
		return nil, fmt.Errorf("%w: %w", errDocument, err)
	}
	return object, nil
}

// merged is old with what the patch has: null removes, objects merge, anything else replaces (RFC 7396).
func merged(old, patch map[string]any) map[string]any {
	next := maps.Clone(old)
	if next == nil {
		next = map[string]any{}
	}
	for k, v := range patch {
		inner, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(next, k)
		case isObject:
			below, _ := next[k].(map[string]any)
			next[k] = merged(below, inner)
		default:
			next[k] = v
		}
	}
	return next
}

// difference is the smallest patch that makes want of have, nil where they are equal. There is no null in want.
func difference(have, want map[string]any) map[string]any {
	var patch map[string]any
	put := func(k string, v any) {
		if patch == nil {
			patch = map[string]any{}
		}
		patch[k] = v
	}
	for k := range have {
		if _, kept := want[k]; !kept {
			put(k, nil)
		}
	}
	for k, v := range want {
		old, had := have[k]
		oldObject, wasObject := old.(map[string]any)
		object, isObject := v.(map[string]any)
		switch {
		case wasObject && isObject:
			if below := difference(oldObject, object); below != nil {
				put(k, below)
			}
		case !had || !same(old, v):
			put(k, v)
		}
	}
	return patch
}

// same compares what JSON makes of two values: members are sorted there.
func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
