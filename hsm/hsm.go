// Package hsm keeps keys in a PKCS#11 token.
//
// The vendor's library is C, and may crash, hang or lie. It therefore lives in a process of its own, devid-pkcs11,
// which is started when the token is needed, asked over a socket with a deadline on each question, killed when it
// overruns and ended when idle.
//
// Every signature is verified: before it is returned where it is RSA, evidence, the proof of a key at its opening, or
// one of the first eight that a helper makes with an ECDSA key. Verifying ECDSA takes longer than making it does in
// software. So once eight in a row were right, Sign returns the next at once, and verifies it while the helper makes
// the one after it, or 10 ms later, or at Close. If it was wrong, the log says so, the helper is killed, and the first
// eight of the next one are verified first again; if they are wrong, too, Sign says so in its error.
//
// So who signs once in a command, or less often than Config.Idle, is never given a signature that was not verified.
// In a burst, at most one in nine of those given out can be wrong, and it does no more than fail: a TLS server ends the
// handshake that it is in (RFC 8446, 4.4.3), and x509.CreateCertificateRequest verifies what it has made.
package hsm

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

// Store is the keys of one token. It satisfies keys.Store and keys.Inspector.
type Store struct {
	config    Config
	address   address
	pin       string // path of the PIN file
	algorithm keys.Algorithm
	log       *slog.Logger
	said      *said
	health    health

	turn chan struct{} // holds one token; who has it may speak to the helper

	// Guarded by turn.
	helper *helper
	undead *helper // killed, and yet there
	tries  tries
	idle   *time.Timer
	keys   map[string]*key // by name
	opened int             // how often a module was opened
	ill    time.Time       // since when nothing heals the token
	owed   *debt           // a verification, nil when none
}

// health is counted, so that a token that is ill often is seen.
type health struct {
	started atomic.Int64
	pid     atomic.Int64
	rungs   [helpers + 1]atomic.Int64
}

// Health is how often a helper was started, and how often each rung of the ladder was taken.
type Health struct {
	PID      int64 `json:"pid"` // of the helper, 0 when there is none
	Started  int64 `json:"started"`
	Sessions int64 `json:"new_sessions"`
	Logins   int64 `json:"new_logins"`
	Contexts int64 `json:"new_contexts"`
	Helpers  int64 `json:"new_helpers"`
}

// Health says how the token has been since Open.
func (s *Store) Health() Health {
	h := &s.health
	return Health{h.pid.Load(), h.started.Load(), h.rungs[sessions].Load(), h.rungs[logins].Load(), h.rungs[contexts].Load(), h.rungs[helpers].Load()}
}

// Open starts nothing: the helper is started when the token is first needed.
func Open(c Config) (*Store, error) { return open(c, durable.Open) }

// Look is Open beside an agent that may be running: it cleans nothing up in StateDir.
func Look(c Config) (*Store, error) {
	return open(c, func(path string, _ durable.Step) (*durable.Dir, error) {
		_, err := os.Stat(path)
		return durable.Look(path), durable.Label("open", path, err)
	})
}

func open(c Config, state func(string, durable.Step) (*durable.Dir, error)) (*Store, error) {
	a, err := parseURI(c.URI)
	if err == nil {
		err = a.complete()
	}
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("open token: %w", err), "correct keys.pkcs11")
	}
	algorithm, err := ParseAlgorithm(string(c.Algorithm))
	if err != nil {
		return nil, fault.As(fault.Operator, err)
	}
	dir, err := state(c.StateDir, c.Step)
	if err != nil {
		return nil, fmt.Errorf("open token: %w", err)
	}
	s := &Store{config: c.filled(a), address: a, pin: c.PIN, algorithm: algorithm, turn: make(chan struct{}, 1),
		keys: map[string]*key{}, tries: tries{dir: dir}}
	if s.pin == "" {
		s.pin = a.pin
	}
	s.log = s.config.Log
	s.said = &said{log: s.log}
	s.turn <- struct{}{}
	return s, nil
}

// Create implements keys.Store. The key's attributes were read back, and it has signed, when it is returned.
func (s *Store) Create(ctx context.Context, name string) (crypto.Signer, error) {
	if err := keys.CheckName(name); err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("create key: %w", err))
	}
	k, err := s.create(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", name, err)
	}
	return k, nil
}

// kinds of keys in the words of the wire.
var kinds = map[keys.Algorithm]wire.Request{
	keys.ECDSAP256: {Kind: "p256"},
	keys.ECDSAP384: {Kind: "p384"},
	keys.RSA2048:   {Kind: "rsa", Bits: 2048},
	keys.RSA3072:   {Kind: "rsa", Bits: 3072},
	RSA4096:        {Kind: "rsa", Bits: 4096},
}

func (s *Store) create(ctx context.Context, name string) (*key, error) {
	r := kinds[s.algorithm]
	// The ID is drawn here, so that a key that was made while the helper died is known again.
	r.Op, r.Key = wire.Create, wire.Key{Label: s.config.Prefix + name, ID: make([]byte, 16)}
	if _, err := rand.Read(r.Key.ID); err != nil {
		return nil, err
	}
	a, err := s.ask(ctx, r, oneKey)
	if err != nil {
		return nil, err
	}
	k, err := s.prove(ctx, name, a.Keys[0])
	if err == nil && k.algorithm != s.algorithm {
		err = fault.As(fault.Permanent, fmt.Errorf("the token made a key of %s instead of %s", k.algorithm, s.algorithm))
	}
	if err == nil {
		err = s.keep(ctx, k)
	}
	if err != nil {
		s.discard(ctx, r.Key)
		return nil, err
	}
	return k, nil
}

// discard destroys a key that nobody will ever know of, also when it is its maker who went away. A cut before that
// leaves the key under its name, for its owner to find or sweep.
func (s *Store) discard(ctx context.Context, k wire.Key) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Deadline)
	defer cancel()
	if _, err := s.ask(ctx, wire.Request{Op: wire.Delete, Key: k}, nil); err != nil {
		s.log.Warn("a useless key stays on the token", "part", "hsm", "key", k.Label, "err", err)
	}
}

// anyKey makes an empty list an absence, which is believed of a fresh context only.
func anyKey(a wire.Answer) error {
	if len(a.Keys) == 0 {
		return keys.ErrNotFound
	}
	return nil
}

func oneKey(a wire.Answer) error {
	if len(a.Keys) != 1 {
		return fmt.Errorf("%d keys instead of one", len(a.Keys))
	}
	return nil
}

// Open implements keys.Store. The first opening of a key proves with a signature that the token has it.
func (s *Store) Open(ctx context.Context, name string) (crypto.Signer, error) {
	if err := keys.CheckName(name); err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("open key: %w", err))
	}
	k, err := s.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", name, err)
	}
	return k, nil
}

func (s *Store) open(ctx context.Context, name string) (*key, error) {
	a, err := s.ask(ctx, wire.Request{Op: wire.Find, Key: wire.Key{Label: s.config.Prefix + name}}, oneKey)
	if err != nil {
		return nil, err
	}
	if k, err := s.kept(ctx, name, a.Keys[0]); k != nil || err != nil {
		return k, err
	}
	k, err := s.prove(ctx, name, a.Keys[0])
	if err != nil {
		return nil, err
	}
	return k, s.keep(ctx, k)
}

// Delete implements keys.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := keys.CheckName(name); err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("delete key: %w", err))
	}
	_, err := s.ask(ctx, wire.Request{Op: wire.Delete, Key: wire.Key{Label: s.config.Prefix + name}}, nil)
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		return fmt.Errorf("delete key %s: %w", name, err)
	}
	return s.bury(ctx, name)
}

// Names implements keys.Store.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	names, err := s.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return names, nil
}

func (s *Store) list(ctx context.Context) ([]string, error) {
	a, err := s.ask(ctx, wire.Request{Op: wire.List, Key: wire.Key{Label: s.config.Prefix}}, anyKey)
	if err != nil && !errors.Is(err, keys.ErrNotFound) {
		return nil, err
	}
	var names []string
	for _, k := range a.Keys {
		name, ours := strings.CutPrefix(k.Label, s.config.Prefix)
		if ours && keys.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
