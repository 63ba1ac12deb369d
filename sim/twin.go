package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
)

// twin is a device's document at the hub ("Understand and use device twins in IoT Hub").
type twin struct {
	desired, reported section
}

// section is one half of a twin.
type section struct {
	members map[string]any // numbers are json.Number
	version int            // 1 for a new device, one more with each change
}

func newTwin() twin { return twin{newSection(), newSection()} }

func newSection() section { return section{map[string]any{}, 1} }

// answerTwin serves the document and takes merge patches to what the device reports.
func (s *hubSession) answerTwin(path, query string, body []byte) error {
	rid := parameter(query, "$rid")
	switch err := s.trouble(AtTwin); {
	case errors.Is(err, ErrSilent):
		return nil
	case err != nil:
		no, ok := errors.AsType[*Refusal](err)
		if !ok {
			return err
		}
		s.tellTwin(fmt.Sprintf("%d/?$rid=%s", httpStatus(no.Code), rid), nil)
		return nil
	}
	if path == "$iothub/twin/GET" {
		s.tellTwin("200/?$rid="+rid, s.cloud.Twin(s.device.id))
		return nil
	}
	s.report(rid, parameter(query, "$version"), body)
	return nil
}

func (s *hubSession) tellTwin(topic string, body []byte) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	s.device.tell("$iothub/twin/res/"+topic, body)
}

// report takes a patch of the device. With $version it takes it only where the reported half is of that version.
func (s *hubSession) report(rid, onlyAt string, body []byte) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	d := s.device
	if at, err := strconv.Atoi(onlyAt); onlyAt != "" && (err != nil || at != d.twin.reported.version) {
		d.tell("$iothub/twin/res/412/?$rid="+rid, nil)
		return
	}
	patch, err := parsePatch(body)
	if err == nil {
		err = d.twin.reported.apply(patch)
	}
	if err != nil {
		s.cloud.note("hub", Answered, d.id, "400 twin: "+err.Error())
		d.tell("$iothub/twin/res/400/?$rid="+rid, nil)
		return
	}
	s.cloud.note("hub", Reported, d.id, fmt.Sprintf("version %d", d.twin.reported.version))
	d.tell(fmt.Sprintf("$iothub/twin/res/204/?$rid=%s&$version=%d", rid, d.twin.reported.version), nil)
}

// parsePatch reads one JSON object.
func parsePatch(body []byte) (map[string]any, error) {
	var patch map[string]any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&patch); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF || patch == nil {
		return nil, errors.New("not one JSON object")
	}
	return patch, nil
}

// apply merges patch, or says why it does not.
func (s *section) apply(patch map[string]any) error {
	if err := checkSection(patch, 1); err != nil {
		return err
	}
	next := merged(s.members, patch)
	if size := len(marshal(next)); size > maxSection {
		return fmt.Errorf("%d bytes, more than %d", size, maxSection)
	}
	if depth := depthOf(next); depth > maxDepth {
		return fmt.Errorf("%d levels deep, more than %d", depth, maxDepth)
	}
	s.members = next
	s.version++
	return nil
}

// document is a half as the device sees it.
func (s *section) document() map[string]any {
	all := maps.Clone(s.members)
	all["$version"] = s.version
	return all
}

func (t *twin) document() []byte {
	return marshal(map[string]any{"desired": t.desired.document(), "reported": t.reported.document()})
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

// Reported returns what the device has reported in its twin, as JSON.
func (c *Cloud) Reported(device string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.devices[device]; d != nil {
		return marshal(d.twin.reported.members)
	}
	return nil
}
