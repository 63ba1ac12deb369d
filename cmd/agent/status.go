package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/telemetry"
	"github.com/devid-agent/devid-agent/telemetry/spool"
)

// status is the file that a running agent writes, and what status --json prints.
type status struct {
	Version  string                      `json:"version"`
	PID      int                         `json:"pid"`
	Started  time.Time                   `json:"started"`
	Written  time.Time                   `json:"written"`
	Device   string                      `json:"device"`
	Identity *identityStatus             `json:"identity"` // null before the first enrollment
	Pending  *identityStatus             `json:"pending,omitempty"`
	Hub      *hubStatus                  `json:"hub,omitempty"` // absent until the hardware has answered
	Renewal  *renewalStatus              `json:"renewal,omitempty"`
	Spool    spoolStatus                 `json:"spool"`             // of the streams without a section in the file
	Streams  map[string]spoolStatus      `json:"streams,omitempty"` // of each that has one
	Sampler  *telemetry.Samples          `json:"sampler,omitempty"`
	Ingest   *ingestStatus               `json:"ingest,omitempty"` // absent where no other program can send
	Troubles map[string]commands.Trouble `json:"troubles"`         // by part; empty when all is well
}

type identityStatus struct {
	DeviceID   string     `json:"device_id"` // behind a slash the module, where it is one's
	Hub        string     `json:"hub"`
	Generation uint64     `json:"generation"`
	Key        string     `json:"key,omitempty"`    // without a certificate, which a device that shows tokens does not have,
	Serial     string     `json:"serial,omitempty"` // all these are absent
	NotBefore  *time.Time `json:"not_before,omitempty"`
	NotAfter   *time.Time `json:"not_after,omitempty"`
}

type hubStatus struct {
	State     string     `json:"state"`
	Since     time.Time  `json:"since"`
	NextTry   *time.Time `json:"next_try,omitempty"`
	Switches  int        `json:"switches"`         // changes of identity in this process
	LastGapMS float64    `json:"last_gap_ms"`      // between hanging up as the old identity and the CONNACK as the new
	LastAgain int        `json:"last_again"`       // readings that may have arrived twice at that change
	Window    int        `json:"window,omitempty"` // messages that may be in flight: fewer than configured where the hub throttles
	Aside     uint64     `json:"aside,omitempty"`  // readings set aside since the start, since they ended each session
	Kicks     int        `json:"kicks,omitempty"`  // sessions in a row that the hub has ended soon: another may have this identity
}

// ingestStatus is what became of the readings that other programs sent to this process.
type ingestStatus struct {
	Taken   uint64 `json:"taken"`   // promised
	Refused uint64 `json:"refused"` // told to the sender, or given up by the policy of the stream
	Lost    uint64 `json:"lost"`    // of MQTT's QoS 0, which promises nothing
	Ignored uint64 `json:"ignored"` // of topics that a rule lets go
}

type renewalStatus struct {
	Count   int        `json:"count"` // identities promoted in this process
	LastTry *time.Time `json:"last_try,omitempty"`
	At      *time.Time `json:"at,omitempty"`
	NextTry *time.Time `json:"next_try,omitempty"`
}

type spoolStatus struct {
	ID       string `json:"id"`
	Depth    uint64 `json:"depth"`               // readings that wait for the hub
	Bytes    int64  `json:"bytes"`               // on disk
	LastSeq  uint64 `json:"last_seq"`            // number of the newest that was promised
	Acked    uint64 `json:"acked"`               // all up to here have been acknowledged by the hub
	Dropped  uint64 `json:"dropped"`             // for want of room
	Damaged  uint64 `json:"damaged"`             // by the medium
	Expired  uint64 `json:"expired,omitempty"`   // older than their time to live
	Refused  uint64 `json:"refused,omitempty"`   // never taken, for want of room
	Poisoned uint64 `json:"poisoned,omitempty"`  // kept apart, since they ended each session
	Today    int64  `json:"written_today"`       // bytes to the medium
	Spent    bool   `json:"spent,omitempty"`     // what may be written in a day is
	InMemory uint64 `json:"in_memory,omitempty"` // of those that wait, not on the disk yet
	Late     bool   `json:"late,omitempty"`      // the disk did not take them in time
}

func viewSpool(s spool.Stats) spoolStatus {
	return spoolStatus{ID: s.ID, Depth: s.Depth, Bytes: s.Bytes, LastSeq: s.LastSeq, Acked: s.Acked, Dropped: s.Dropped, Damaged: s.Damaged,
		Expired: s.Expired, Refused: s.Refused, Poisoned: s.Poisoned, Today: s.Today, Spent: s.Spent, InMemory: s.InMemory, Late: s.Late}
}

// line says how many wait and what was lost, and why.
func (s spoolStatus) line() string {
	text := fmt.Sprintf("%d readings wait (%d bytes), last number %d, dropped %d, damaged %d", s.Depth, s.Bytes, s.LastSeq, s.Dropped, s.Damaged)
	for _, c := range []struct {
		name  string
		count uint64
	}{{"expired", s.Expired}, {"refused", s.Refused}, {"set aside", s.Poisoned}, {"in memory", s.InMemory}} {
		if c.count > 0 {
			text += fmt.Sprintf(", %s %d", c.name, c.count)
		}
	}
	if s.Late {
		text += ", the disk does not take what is in memory"
	}
	if s.Spent {
		text += ", the day's writing is used up"
	}
	return text
}

// unusual is what a person should know of the session, "" where there is nothing.
func (h *hubStatus) unusual() (text string) {
	if h.Kicks > 0 {
		text += fmt.Sprintf(", hung up on %d times in a row", h.Kicks)
	}
	if h.Aside > 0 {
		text += fmt.Sprintf(", %d readings set aside", h.Aside)
	}
	return text
}

// waiting is how many readings wait for the hub, in all streams.
func (s *status) waiting() uint64 {
	n := s.Spool.Depth
	for _, stream := range s.Streams {
		n += stream.Depth
	}
	return n
}

// line is the state in one line, for systemctl status.
func (s *status) line() string {
	switch {
	case s.Hub == nil:
		return fmt.Sprintf("no identity yet, %d readings wait", s.waiting())
	case s.Identity == nil:
		return fmt.Sprintf("not enrolled yet, %d readings wait", s.waiting())
	}
	return fmt.Sprintf("%s as %s generation %d, %d readings wait, %s", s.Hub.State, s.Identity.DeviceID, s.Identity.Generation, s.waiting(), s.Identity.credential(time.UTC))
}

// credential is what the identity shows to the hub, in words, with times in that zone.
func (s *identityStatus) credential(zone *time.Location) string {
	if s.NotAfter == nil {
		return "tokens of a shared key"
	}
	return "certificate " + s.Serial + " until " + s.NotAfter.In(zone).Format(time.RFC3339)
}

// stale is how old a status may be before nobody seems to be writing it any more.
const stale = time.Minute

// readStatus returns what the running agent wrote, and an error when none is running.
func readStatus(c *Config) (*status, error) {
	const hint = "start it: systemctl start devid-agent, or devid-agent run --config FILE"
	b, err := os.ReadFile(c.Status.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.AskOperator(fmt.Errorf("the agent is not running: no %s", c.Status.File), hint)
	}
	if err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	var s status
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read status: %s: %w", c.Status.File, err)
	}
	if age := time.Since(s.Written); age > stale {
		return &s, fault.AskOperator(fmt.Errorf("the agent has not written its status for %s: it is not running", age.Round(time.Second)), hint)
	}
	return &s, nil
}

func statusCommand(o *commands.Options, out io.Writer) error {
	c, err := loadConfig(o.Config)
	if err != nil {
		return err
	}
	s, err := readStatus(c)
	if s == nil {
		return err
	}
	if o.JSON {
		return errors.Join(commands.PrintJSON(out, s), err)
	}
	s.print(out)
	return err
}

func (s *status) print(out io.Writer) {
	var t commands.Table
	row := func(name, format string, args ...any) { t.Row(name, fmt.Sprintf(format, args...)) }
	row("device", "%s", s.Device)
	row("agent", "%s, process %d, up %s", s.Version, s.PID, s.Written.Sub(s.Started).Round(time.Second))
	if s.Hub != nil {
		row("hub", "%s since %s%s", s.Hub.State, s.Hub.Since.Local().Format(time.DateTime), s.Hub.unusual())
	}
	if id := s.Identity; id != nil {
		row("identity", "%s at %s, generation %d", id.DeviceID, id.Hub, id.Generation)
		row("credential", "%s", id.credential(time.Local))
	} else {
		row("identity", "none yet")
	}
	if s.Pending != nil {
		row("pending", "generation %d waits for its proof", s.Pending.Generation)
	}
	if s.Renewal != nil && s.Renewal.At != nil {
		row("renewal", "at %s; %d so far, last gap %.1f ms", s.Renewal.At.Local().Format(time.DateTime), s.Hub.Switches, s.Hub.LastGapMS)
	}
	row("spool", "%s", s.Spool.line())
	for _, name := range slices.Sorted(maps.Keys(s.Streams)) {
		row("stream "+name, "%s", s.Streams[name].line())
	}
	if i := s.Ingest; i != nil && *i != (ingestStatus{}) {
		row("ingest", "%d readings taken, refused %d, lost %d, ignored %d", i.Taken, i.Refused, i.Lost, i.Ignored)
	}
	for _, part := range slices.Sorted(maps.Keys(s.Troubles)) {
		row("trouble", "%s: %s", part, s.Troubles[part].Error)
		if hint := s.Troubles[part].Hint; hint != "" {
			row("", "do: %s", hint)
		}
	}
	_ = t.Print(out)
}
