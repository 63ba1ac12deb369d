package main

import (
	"encoding/json"
	"time"
)

// entry is a line of the agent's log, as far as the story needs it.
type entry struct {
	Level, Msg string
	Err, Hint  string
	Gap        time.Duration
	Identity   struct {
		Gen    uint64
		Key    string
		Serial string
		Hub    string
	}
}

// hear takes a line of the agent's log. What systemd says of the agent is among them, and is no JSON.
func (s *stage) hear(line string) {
	s.mu.Lock()
	s.lines = append(s.lines, line)
	s.mu.Unlock()
	if e, ok := parse(line); ok {
		s.narrate(e)
	}
}

func parse(line string) (e entry, ok bool) {
	err := json.Unmarshal([]byte(line), &e)
	return e, err == nil
}

func (s *stage) narrate(e entry) {
	switch e.Msg {
	case "agent starts":
		s.tell("agent", "starts")
	case "identity advanced":
		s.mu.Lock()
		s.scene.generation = e.Identity.Gen
		s.mu.Unlock()
		s.tell("agent", "is now generation %d: key %s in the TPM, certificate %s", e.Identity.Gen, e.Identity.Key, e.Identity.Serial)
	case "switched identity":
		if e.Identity.Gen > 1 {
			s.tell("agent", "telemetry was silent for %s", e.Gap.Round(time.Millisecond))
		}
	case "connected":
		s.tell("agent", "connected to %s as generation %d", e.Identity.Hub, e.Identity.Gen)
	default:
		if e.Level == "WARN" || e.Level == "ERROR" {
			s.tell("agent", "%s: %s", e.Msg, e.Err)
		}
	}
}
