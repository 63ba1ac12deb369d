package sim

import (
	"encoding/json"
	"fmt"
	"maps"
)

// twin is a device's document at the hub. Nobody desires anything yet.
type twin struct {
	reported map[string]any
	version  int
}

func newTwin() twin { return twin{reported: map[string]any{}, version: 1} }

// answerTwin serves the document and takes merge patches to what the device reports, "Understand device twins".
func (s *hubSession) answerTwin(path, rid string, body []byte) {
	s.cloud.mu.Lock()
	defer s.cloud.mu.Unlock()
	t := &s.device.twin
	if path == "$iothub/twin/GET" {
		s.device.tell("$iothub/twin/res/200/?$rid="+rid, t.document())
		return
	}
	var patch map[string]any
	if err := json.Unmarshal(body, &patch); err != nil || patch == nil {
		s.device.tell("$iothub/twin/res/400/?$rid="+rid, nil)
		return
	}
	merge(t.reported, patch)
	t.version++
	s.device.tell(fmt.Sprintf("$iothub/twin/res/204/?$rid=%s&$version=%d", rid, t.version), nil)
}

func (t *twin) document() []byte {
	reported := maps.Clone(t.reported)
	reported["$version"] = t.version
	return marshal(map[string]any{"desired": map[string]any{"$version": 1}, "reported": reported})
}

// merge removes what the patch has as null, merges objects and replaces the rest.
func merge(into, patch map[string]any) {
	for k, v := range patch {
		inner, isObject := v.(map[string]any)
		if v == nil {
			delete(into, k)
		} else if !isObject {
			into[k] = v
		} else {
			below, ok := into[k].(map[string]any)
			if !ok {
				below = map[string]any{}
				into[k] = below
			}
			merge(below, inner)
		}
	}
}

// Reported returns what the device has reported in its twin, as JSON.
func (c *Cloud) Reported(device string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.devices[device]; d != nil {
		return marshal(d.twin.reported)
	}
	return nil
}
