package stage

import (
	"encoding/json"
	"os"
)

// Board is what the agent costs on the emulated gateway. Bytes are those that reached the disk, with the journal of the file
// system.
type Board struct {
	Architecture  string  `json:"architecture"`
	SteadyKB      int     `json:"steady_kb"`
	PeakKB        int     `json:"peak_kb"`
	IdleSeconds   float64 `json:"idle_seconds"`
	IdleBytes     int64   `json:"idle_bytes"`
	IdleFlushes   int     `json:"idle_flushes"`
	IdleSwitches  int     `json:"idle_switches"`
	Messages      int     `json:"messages"`
	MessageBytes  int64   `json:"message_bytes"`
	FirstMessageS float64 `json:"power_to_first_message_seconds"`
	AgentFirstMS  int64   `json:"agent_to_first_message_ms"`
}

// Write keeps it in a file.
func (b *Board) Write(file string) error {
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// ReadBoard is nil where the gateway was not measured.
func ReadBoard(file string) *Board {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var b Board
	if json.Unmarshal(text, &b) != nil || b.Messages == 0 || b.IdleSeconds == 0 {
		return nil
	}
	return &b
}
