package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// power is a supply that fails at one step.
type power struct {
	cutAt int // the step before which it fails, from 1; 0 is never
	tear  bool

	mu     sync.Mutex
	steps  []string
	dead   bool
	off    func()
	conns  []net.Conn
	moving map[string][]byte // content of the files that are about to be renamed over; several rooms write at a time
	before map[string][]byte // of those that were, in directories that are not synced yet
	spoil  func(verb, path string)
}

// errCut is what every operation answers once there is no power.
var errCut = errors.New("the power is cut")

func (p *power) plug(off func()) {
	p.off, p.moving, p.before = off, map[string][]byte{}, map[string][]byte{}
}

// step is a durable.Step.
func (p *power) step(verb, path string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errCut
	}
	p.steps = append(p.steps, verb+" "+filepath.Base(path))
	if p.spoil != nil {
		p.spoil(verb, path)
	}
	if len(p.steps) != p.cutAt {
		p.remember(verb, path)
		return nil
	}
	p.dead = true
	if p.tear {
		p.damage(verb, path)
	}
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.off()
	return errCut
}

// remember keeps what a rename replaces, from when it is done until its directory is synced.
func (p *power) remember(verb, path string) {
	switch verb {
	case "rename":
		old, err := os.ReadFile(path)
		if err != nil {
			old = nil
		}
		p.moving[path] = old
	case "renamed":
		p.before[path] = p.moving[path]
		delete(p.moving, path)
	case "synced":
		for of := range p.before {
			if filepath.Dir(of) == filepath.Clean(path) {
				delete(p.before, of)
			}
		}
	}
}

// damage does to the medium what a cut may do to what was not synced: it tears what was being written, and undoes a
// rename.
func (p *power) damage(verb, path string) {
	switch verb {
	case "wrote", "written":
		if info, err := os.Stat(path); err == nil {
			_ = os.Truncate(path, info.Size()-min(info.Size(), 7))
		}
	case "renamed", "sync":
		p.remember(verb, path)
		for path, old := range p.before {
			undo(path, old)
		}
	}
}

// undo puts back what lay at path before something was renamed over it.
func undo(path string, old []byte) {
	source := path + ".tmp~"
	if name := filepath.Base(path); strings.HasPrefix(name, "current") || strings.HasPrefix(name, "dropped") {
		source = filepath.Join(filepath.Dir(path), "pending.json")
	}
	_ = os.Rename(path, source)
	if old != nil {
		_ = os.WriteFile(path, old, 0o600)
	}
}

// dial makes connections that a cut ends.
func (p *power) dial(through func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := through(ctx, network, address)
		p.mu.Lock()
		defer p.mu.Unlock()
		if err == nil && p.dead {
			_ = conn.Close()
			return nil, errCut
		}
		if err == nil {
			p.conns = append(p.conns, conn)
		}
		return conn, err
	}
}
