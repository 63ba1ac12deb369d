package main

import "encoding/json"

// missing are the parts that the agent answered for and that the cloud does not have.
func (s *story) missing() (parts []string) {
	got := map[string]bool{}
	for _, m := range s.cloud.Received(device) {
		var reading struct{ Part string }
		if json.Unmarshal(m.Body, &reading) == nil {
			got[reading.Part] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for part := range s.promised {
		if !got[part] {
			parts = append(parts, part)
		}
	}
	return parts
}
