package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/commands"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/telemetry"
)

// board shows the agent's state: to people through the status file, to systemd through sd_notify. It asks the
// watchdog to wait only while every loop turns.
type board struct {
	file     string
	device   string
	started  time.Time
	notifier notifier
	streams  []*stream
	sampler  *telemetry.Sampler
	taken    func() *ingestStatus // nil: nobody can send
	log      *slog.Logger

	news    chan struct{} // the status has changed in a way that somebody waits for
	changed func()        // is called after a change of state; nil: nobody wants to know

	mu       sync.Mutex
	shown    *deviceView
	troubles map[string]commands.Trouble
}

// deviceView is what the board may look at once there is a device.
type deviceView struct{ *device }

func newBoard(a *agent) *board {
	return &board{
		file: a.config.Status.File, device: a.config.Device.ID, started: time.Now(), notifier: newNotifier(os.Getenv),
		streams: a.streams, sampler: a.sampler, taken: a.taken, log: a.part("board"), troubles: map[string]commands.Trouble{},
		news: make(chan struct{}, 1),
	}
}

func (b *board) show(d *device) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shown = &deviceView{d}
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// trouble notes what keeps a part from its work; a nil err says that it works again.
func (b *board) trouble(part string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		delete(b.troubles, part)
		return
	}
	b.troubles[part] = commands.Describe(err)
}

// boardEvery is how old the status file may be. What changes is written at once; the rest is numbers, and not worth
// waking a processor for.
const boardEvery = 20 * time.Second

func (b *board) run(ctx context.Context) error {
	defer b.stopping(ctx)
	b.notifier.tell("READY=1")
	every := boardEvery
	if b.notifier.watchdog > 0 {
		every = min(every, b.notifier.watchdog)
	}
	for complained := false; ; {
		pump, renewer := b.changes()
		s := b.now()
		if err := b.write(s); err != nil && !complained {
			b.log.Warn("no status file", "err", err, "hint", fault.Hint(err))
			complained = true
		}
		b.notifier.tell(append([]string{"STATUS=" + s.line()}, b.alive(time.Now())...)...)
		select {
		case <-ctx.Done():
			_ = b.write(b.now()) // the numbers as they were at the end
			return ctx.Err()
		case <-b.news:
			b.tell()
		case <-pump:
			b.tell()
		case <-renewer:
			b.tell()
		case <-time.After(every):
		}
	}
}

// stopping tells that the process ends: systemd would kill one that goes on after saying so.
func (b *board) stopping(ctx context.Context) {
	if _, again := errors.AsType[*reconfigured](context.Cause(ctx)); !again {
		b.notifier.tell("STOPPING=1")
	}
}

func (b *board) tell() {
	if b.changed != nil {
		b.changed()
	}
}

// now is everything, at this moment.
func (b *board) now() *status { return b.status(time.Now()) }

// changes are those of the device, once there is one.
func (b *board) changes() (pump, renewer <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown == nil {
		return nil, nil
	}
	return b.shown.pump.Changes(), b.shown.renewer.Changes()
}

// write replaces the status file at once, so that no reader sees half of it. It lies on a tmpfs: nothing is synced.
func (b *board) write(s *status) error {
	if b.file == "" {
		return nil
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(b.file), 0o755); err != nil {
		return durable.Label("make", filepath.Dir(b.file), err)
	}
	tmp := b.file + ".tmp~"
	if err := os.WriteFile(tmp, append(out, '\n'), 0o644); err != nil {
		return durable.Label("write", b.file, err)
	}
	return durable.Label("write", b.file, os.Rename(tmp, b.file))
}

// alive is the watchdog's ping, unless a loop should have turned long ago.
func (b *board) alive(now time.Time) []string {
	b.mu.Lock()
	d := b.shown
	b.mu.Unlock()
	if d == nil {
		return []string{"WATCHDOG=1"}
	}
	loop := hung(map[string]time.Time{"pump": d.pump.Report().Turn, "renew": d.renewer.Report().Turn}, now)
	if loop != "" {
		b.log.Error("a loop hangs, the watchdog is not fed", "loop", loop)
		return nil
	}
	return []string{"WATCHDOG=1"}
}

// hung names a loop that should have turned long before now; "" when all turn. A zero time is a loop that has not
// begun.
func hung(turns map[string]time.Time, now time.Time) string {
	const grace = time.Minute
	for name, turn := range turns {
		if !turn.IsZero() && now.After(turn.Add(grace)) {
			return name
		}
	}
	return ""
}

// status is everything, now.
func (b *board) status(now time.Time) *status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &status{
		Version: version(), PID: os.Getpid(), Started: b.started, Written: now, Device: b.device,
		Spool: viewSpool(b.streams[0].spool.Stats()), Streams: map[string]spoolStatus{}, Troubles: map[string]commands.Trouble{},
	}
	for _, stream := range b.streams[1:] {
		s.Streams[stream.name] = viewSpool(stream.spool.Stats())
	}
	if b.taken != nil {
		s.Ingest = b.taken()
	}
	if b.sampler != nil {
		stats := b.sampler.Samples()
		s.Sampler = &stats
	}
	for part, t := range b.troubles {
		s.Troubles[part] = t
	}
	if b.shown != nil {
		b.shown.fill(s)
	}
	return s
}

func (d *deviceView) fill(s *status) {
	s.Identity, s.Pending = viewIdentity(d.identities.Current()), viewIdentity(d.identities.Pending())
	pump, renewer := d.pump.Report(), d.renewer.Report()
	s.Hub = &hubStatus{State: pump.State, Since: pump.Since, NextTry: when(pump.NextTry), Switches: pump.Switches,
		LastGapMS: float64(pump.Last.Gap.Microseconds()) / 1000, LastAgain: pump.Last.Again,
		Window: pump.Window, Aside: pump.Aside, Kicks: pump.Kicks}
	if pump.LastError != nil && pump.State != "online" {
		s.Troubles["hub"] = commands.Describe(pump.LastError)
	}
	s.Renewal = &renewalStatus{Count: renewer.Count, At: when(renewer.RenewAt), LastTry: when(renewer.LastTry), NextTry: when(renewer.NextTry)}
	if renewer.LastError != nil {
		s.Troubles["renewal"] = commands.Describe(renewer.LastError)
	}
}

func viewIdentity(id *identity.Identity) *identityStatus {
	if id == nil {
		return nil
	}
	s := &identityStatus{DeviceID: id.Name(), Hub: id.Hub, Generation: id.Generation, Key: id.Key}
	if leaf := id.Leaf(); leaf != nil {
		s.Serial, s.NotBefore, s.NotAfter = leaf.SerialNumber.Text(16), &leaf.NotBefore, &leaf.NotAfter
	}
	return s
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
