//go:build !noremote

package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"sync/atomic"

	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/remote"
	"github.com/devid-agent/devid-agent/telemetry/iothub"
)

const builtRemote = true

// cloud is what the cloud may ask of the agent. It lives as long as the process: other settings of the telemetry make
// another agent in it, and the twin, programs' methods and messages go on with that one.
type cloud struct {
	file   *Config // as it stands on the disk
	source source
	level  *remote.Level
	remote *remote.Remote
	agent  atomic.Pointer[agent] // the newest
	wishes chan wish
	loans  chan lender // of the agent that lives

	// owned by whoever restores, then by follow
	config *Config         // in force
	over   <-chan struct{} // closed when the process ends; nil before the first agent lives
}

// lender waits for the session of one agent. The error is errGone where that has ended, and another one may come.
type lender func(ctx context.Context) (remote.Session, error)

var errGone = errors.New("the agent goes on as another one")

// openCloud makes a.cloud, where the file allows the cloud anything, and puts in force what the cloud wanted before the
// process started: the spools are opened with those settings, not first with the file's.
func (a *agent) openCloud() error {
	r := a.config.Remote
	if a.cloud = a.world.cloud; a.cloud != nil || !a.config.asked() {
		return nil
	}
	dir, err := durable.Open(filepath.Join(a.config.Device.State, "remote"), a.world.step)
	if err != nil {
		return err
	}
	c := &cloud{file: a.config, config: a.config, source: a.world.file, level: &remote.Level{Var: a.level}, wishes: make(chan wish), loans: make(chan lender)}
	c.remote = remote.New(remote.Config{
		Lend: c.lend, Key: r.Key, Change: r.Change, Methods: r.Methods, Every: r.Report, Spread: a.world.spread, Files: dir,
		Settings: []remote.Setting{{Path: levelPath, Apply: c.setLevel}, {Path: telemetryPath, Apply: c.setTelemetry}},
		Validate: c.wrong, Status: c.status,
		Actions: remote.Actions{
			Status: func() any { return c.agent.Load().board.now() },
			Renew:  c.renew, Check: c.check, Level: c.level, Reboot: reboot,
		},
		Log: a.part("remote"),
	})
	c.remote.Restore()
	a.cloud, a.config = c, c.config
	return nil
}

// serve makes a the agent that is asked.
func (c *cloud) serve(a *agent) {
	if c != nil {
		a.board.changed = c.remote.Changed
		c.agent.Store(a)
	}
}

// follow follows the twin until ctx ends.
func (c *cloud) follow(ctx context.Context) {
	if c != nil {
		c.over = ctx.Done()
		_ = c.remote.Run(ctx)
	}
}

// end says that the process ends in an orderly way.
func (c *cloud) end() {
	if c != nil {
		c.remote.End()
	}
}

// failed says that it does not.
func (c *cloud) failed() {
	if c != nil {
		c.remote.Failed()
	}
}

// run lends the session of a until ctx ends, or until there is another configuration to go on with.
func (c *cloud) run(ctx context.Context, a *agent) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case w := <-c.wishes:
			return &reconfigured{w}
		case c.loans <- a.lender(ctx):
		}
	}
}

func (a *agent) lender(life context.Context) lender {
	return func(ctx context.Context) (remote.Session, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		s, err := a.lend(ctx)
		if life.Err() != nil {
			return nil, errGone
		}
		return s, err
	}
}

func (c *cloud) handler() http.Handler { return c.remote.Handler() }

// handlers are what the hub's questions go to, each only where the file allows it.
func (c *cloud) handlers() (h iothub.Handlers) {
	if c == nil {
		return h
	}
	h.Desired = c.remote.Desired
	if len(c.file.Remote.Methods) > 0 {
		h.Method = c.remote.Method
	}
	if c.file.Remote.Messages {
		h.Message = c.remote.Message
	}
	return h
}

// lend is the session in force, once there is one: of this agent, or of the one after it.
func (c *cloud) lend(ctx context.Context) (remote.Session, error) {
	for {
		select {
		case lend := <-c.loans:
			if s, err := lend(ctx); err != errGone {
				return s, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (a *agent) lend(ctx context.Context) (remote.Session, error) {
	select {
	case <-a.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := a.device.pump.Lend(ctx)
	if err != nil {
		return nil, err
	}
	s, ok := session(conn).(remote.Session)
	if !ok {
		return nil, errors.New("the session knows no twin")
	}
	return s, nil
}

// changed is the configuration of the file, as it was when the process started, with these changes.
func (c *cloud) changed(changes map[string]any) (*Config, error) {
	next, err := parseConfig(c.source.path, c.source.text, changes)
	if err == nil {
		next.settle()
	}
	return next, err
}

// wrong says what is wrong with changes, in the words of config check.
func (c *cloud) wrong(changes map[string]any) (all []error) {
	next, err := c.changed(changes)
	if err == nil {
		return c.forbidden(next)
	}
	mistakes, ok := errors.AsType[*configError](err)
	if !ok {
		return []error{err}
	}
	for _, p := range mistakes.Problems {
		all = append(all, errors.New(p.Field+": "+p.Problem+"; "+p.Remedy))
	}
	return all
}

// forbidden is what remote.change never allows, whatever it lists: the cloud starts no command here, reads no file, and
// opens no door.
func (c *cloud) forbidden(next *Config) (all []error) {
	was, is := c.file.Telemetry, next.Telemetry
	for _, p := range is.Sensors.Each {
		known := slices.ContainsFunc(was.Sensors.Each, func(q probeConfig) bool {
			return q.Source == p.Source && slices.Equal(q.Command, p.Command) && slices.Equal(q.Env, p.Env) && q.Dir == p.Dir
		})
		if p.Source == "exec" && !known {
			all = append(all, errors.New("telemetry.sensors.each: only the configuration file can name a command, with its environment and directory"))
		}
	}
	if !reflect.DeepEqual(was.Tail, is.Tail) {
		all = append(all, errors.New("telemetry.tail: only the configuration file can name files to read"))
	}
	in := is.Ingest
	in.Quota, in.Connections, in.MaxBatch, in.InHand = was.Ingest.Quota, was.Ingest.Connections, was.Ingest.MaxBatch, was.Ingest.InHand
	if !reflect.DeepEqual(was.Ingest, in) {
		all = append(all, errors.New("telemetry.ingest: of this section the cloud can change quota, connections, max_batch and in_hand only"))
	}
	return all
}

func (c *cloud) setLevel(value any) error {
	text, ok := value.(string)
	if !ok {
		c.level.Set(c.file.Log.Level)
		return nil
	}
	to, err := remote.ParseLevel(text)
	if err == nil {
		c.level.Set(to)
	}
	return err
}

// setTelemetry goes on with another configuration. While an agent lives, that one ends and another one begins, in this
// process: what was promised is on the disk, or gets there on the way. An error means that the old one goes on.
func (c *cloud) setTelemetry(value any) error {
	changes, _ := value.(map[string]any)
	next, err := c.changed(map[string]any{telemetryPath: changes})
	if err != nil {
		return err
	}
	if reflect.DeepEqual(next.Telemetry, c.config.Telemetry) {
		return nil
	}
	if c.over != nil {
		err = c.ask(next)
	}
	if err == nil {
		c.config = next
	}
	return err
}

// ask waits until an agent with that configuration stands, or cannot.
func (c *cloud) ask(next *Config) error {
	w := wish{next, make(chan error, 1)}
	select {
	case c.wishes <- w:
	case <-c.over:
		return context.Canceled
	}
	select {
	case err := <-w.done:
		return err
	case <-c.over:
		return context.Canceled
	}
}

func (c *cloud) renew(context.Context) error {
	select {
	case c.agent.Load().renewals <- struct{}{}:
	default: // one is waiting already
	}
	return nil
}

func (c *cloud) check(ctx context.Context) (any, error) {
	done := make(chan *findings, 1)
	go func() { done <- c.agent.Load().config.look(ctx, c.source.path) }()
	select {
	case f := <-done:
		return f, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// status is what the twin is told.
func (c *cloud) status() remote.Status {
	a := c.agent.Load()
	s := a.board.now()
	t := remote.Status{Release: s.Version, Depth: s.waiting(), Dropped: s.Spool.Dropped, Grade: a.config.hardware()}
	for _, stream := range s.Streams {
		t.Dropped += stream.Dropped
	}
	if id := s.Identity; id != nil {
		t.Key = id.Key
		if id.NotAfter != nil {
			t.NotAfter = *id.NotAfter
		}
	}
	return t
}
