package stage

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Check is what `devid-agent check --json` says, as far as the examples need it.
type Check struct {
	Key *struct {
		Place, Algorithm, Export string
		Attributes               []string
		Refused                  bool
	}
}

// Bound reports whether the TPM itself says that the key was born in it and can go nowhere.
func (c Check) Bound() bool {
	attributes := c.Attributes()
	return strings.Contains(attributes, "fixedTPM") && strings.Contains(attributes, "fixedParent") && strings.Contains(attributes, "sensitiveDataOrigin")
}

// Attributes are those of the key, as the TPM reads them back.
func (c Check) Attributes() string { return strings.Join(c.Key.Attributes, " ") }

// Status is what `devid-agent status --json` and the status file say, as far as the examples need it.
type Status struct {
	PID      int
	Written  time.Time
	Hub      struct{ State string }
	Identity *struct {
		DeviceID   string `json:"device_id"`
		Hub        string
		Generation uint64
	}
	Spool struct {
		LastSeq uint64 `json:"last_seq"`
		Depth   uint64
		Dropped uint64
		Damaged uint64
	}
}

// Entry is a line of the agent's log, as far as the examples need it.
type Entry struct {
	Level, Msg, Err, Hint string
	Gap                   time.Duration
	Identity              struct {
		Gen              uint64
		Key, Serial, Hub string
	}
}

// Words are how the line is told; "" is not worth telling.
func (e Entry) Words() string {
	switch {
	case e.Msg == "agent starts":
		return "starts"
	case e.Msg == "connected":
		return fmt.Sprintf("connected to %s as generation %d", e.Identity.Hub, e.Identity.Gen)
	case e.Msg == "identity advanced":
		return fmt.Sprintf("is now generation %d: key %s in the TPM, certificate %s", e.Identity.Gen, e.Identity.Key, e.Identity.Serial)
	case e.Msg == "switched identity" && e.Identity.Gen > 1:
		return fmt.Sprintf("telemetry was silent for %s", e.Gap.Round(time.Millisecond))
	case e.Level != "WARN" && e.Level != "ERROR":
		return ""
	case e.Err == "":
		return e.Msg
	}
	return e.Msg + ": " + e.Err
}

// Log is what the agent has said. It may be used from everywhere at once.
type Log struct {
	mu    sync.Mutex
	lines []string
}

// Hear takes a line. What is no entry, such as the trace of a panic or a word of systemd, is kept all the same.
func (l *Log) Hear(line string) (e Entry, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return parse(line)
}

func parse(line string) (e Entry, ok bool) {
	err := json.Unmarshal([]byte(line), &e)
	return e, err == nil
}

// Hint is that of the newest warning or error in which one of the words occurs.
func (l *Log) Hint(words ...string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.lines) - 1; i >= 0; i-- {
		e, ok := parse(l.lines[i])
		if !ok || e.Level == "INFO" {
			continue
		}
		for _, word := range words {
			if strings.Contains(e.Err+e.Hint, word) {
				return e.Hint
			}
		}
	}
	return ""
}

// Tail is its end, for when the story went wrong.
func (l *Log) Tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-30):], "\n")
}
