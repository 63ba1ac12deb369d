package identity

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

// The files of the store. Each holds one generation; the rename of pending over current is the commit.
const (
	currentFile = "current.json"
	pendingFile = "pending.json"
	droppedFile = "dropped.json" // the last generation that the cloud refused: its number is never given again
	askedFile   = "asked"        // the name of a key whose request is with somebody who takes his time
)

// KeyPrefix begins the names of the keys that are ours: NextKey makes them, Sweep destroys them.
const KeyPrefix = "device-g"

// Store is the device's identities on disk. Current and Pending may be called from anywhere; the rest is for the
// one goroutine that renews.
type Store struct {
	dir     *durable.Dir
	keys    keys.Store
	current atomic.Pointer[Identity]
	pending atomic.Pointer[Identity]
	highest uint64 // generation given so far
	lost    []loss
}

// loss is an identity whose key the hardware does not give back.
type loss struct {
	id  *Identity
	why error
}

// Open loads both identities from the directory at path, opens their keys in ks and sweeps the keys that neither
// of them names. Damage is Fatal and never taken for absence. There is no further recovery after a power cut: each
// state that one can leave is a state in which Open finds the device.
func Open(ctx context.Context, path string, ks keys.Store, step durable.Step) (*Store, error) {
	dir, err := durable.Open(path, step)
	if err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	s := &Store{dir: dir, keys: ks}
	for _, f := range []struct {
		name string
		to   *atomic.Pointer[Identity]
	}{{currentFile, &s.current}, {pendingFile, &s.pending}, {droppedFile, new(atomic.Pointer[Identity])}} {
		id, err := load(dir, f.name)
		if err != nil {
			return nil, fmt.Errorf("open identity: %w", err)
		}
		if id == nil {
			continue
		}
		s.highest = max(s.highest, id.Generation)
		f.to.Store(id)
	}
	if err := s.dropStale(); err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	if err := s.openKeys(ctx); err != nil {
		return nil, fmt.Errorf("open identity: %w", err)
	}
	return s, s.Sweep(ctx)
}

// dropStale forgets a pending generation that is not newer than the one in force.
func (s *Store) dropStale() error {
	cur, pend := s.Current(), s.Pending()
	if cur == nil || pend == nil || pend.Generation > cur.Generation {
		return nil
	}
	return s.Drop()
}

func load(dir *durable.Dir, name string) (*Identity, error) {
	b, err := dir.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	id, err := decode(b)
	if err != nil {
		return nil, fault.As(fault.Fatal, fault.AskOperator(fmt.Errorf("%s: %w", dir.File(name), err),
			"the file is damaged: restore it from a copy, or move it away and the device enrolls again"))
	}
	return id, nil
}

// Look reads the identities in the directory at path beside an agent that may be running: it changes nothing and
// opens no key. Each is nil where there is none.
func Look(path string) (current, pending *Identity, err error) {
	dir := durable.Look(path)
	if current, err = load(dir, currentFile); err != nil {
		return nil, nil, fmt.Errorf("read identity: %w", err)
	}
	if pending, err = load(dir, pendingFile); err != nil {
		return nil, nil, fmt.Errorf("read identity: %w", err)
	}
	return current, pending, nil
}

// openKeys gives the identities their signers. An identity whose key is gone for good is none: the device enrolls
// again with what it has. What was its own is kept until that has succeeded: a board may only have been plugged into
// the wrong TPM.
func (s *Store) openKeys(ctx context.Context) error {
	for _, at := range []*atomic.Pointer[Identity]{&s.current, &s.pending} {
		id := at.Load()
		if id == nil || !id.Certified() {
			continue
		}
		err := id.openKey(ctx, s.keys)
		if errors.Is(err, keys.ErrNotFound) || errors.Is(err, keys.ErrGone) {
			s.lost = append(s.lost, loss{id, err})
			at.Store(nil)
			continue
		}
		if err != nil {
			return fmt.Errorf("generation %d: %w", id.Generation, err)
		}
	}
	return nil
}

func (id *Identity) openKey(ctx context.Context, ks keys.Store) error {
	key, err := ks.Open(ctx, id.Key)
	if err != nil {
		return err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(id.Leaf().PublicKey) {
		return fault.As(fault.Fatal, fault.AskOperator(fmt.Errorf("key %s is not the one in the certificate", id.Key),
			"put this device's own TPM or token back: this one holds a key of another device"))
	}
	id.signer = key
	return nil
}

// Current is the identity in force, nil before the first enrollment.
func (s *Store) Current() *Identity { return s.current.Load() }

// Pending is the identity that was granted and is not yet proven, nil where there is none.
func (s *Store) Pending() *Identity { return s.pending.Load() }

// Lost says which identities were found without their key, or nil. They are forgotten at the next Promote.
func (s *Store) Lost() error {
	var all []error
	for _, l := range s.lost {
		all = append(all, fmt.Errorf("the key of generation %d is gone: %w", l.id.Generation, l.why))
	}
	return errors.Join(all...)
}

// NextKey returns the key for the next generation: a fresh one, or the one that an interrupted attempt made.
func (s *Store) NextKey(ctx context.Context) (name string, key crypto.Signer, err error) {
	name = s.nextKey()
	key, err = s.keys.Create(ctx, name)
	if errors.Is(err, keys.ErrExists) {
		key, err = s.keys.Open(ctx, name)
	}
	if err != nil {
		return "", nil, fmt.Errorf("next key: %w", err)
	}
	// A cut here leaves a key that no identity names: Sweep, at the next Open, destroys it.
	return name, key, nil
}

func (s *Store) nextKey() string { return KeyPrefix + strconv.FormatUint(s.highest+1, 10) }

// Keep spares the key of that name, which NextKey has made, from Sweep until its generation is staged: a request for
// it is with a person or a CA that takes days, and the certificate must find its key, also after a power cut.
func (s *Store) Keep(key string) error {
	if old, err := s.dir.Read(askedFile); err == nil && string(old) == key {
		return nil
	}
	if err := s.dir.Write(askedFile, []byte(key)); err != nil {
		return fmt.Errorf("keep key: %w", err)
	}
	return nil
}

// asked reports whether the key is the one that Keep has spared. That of an older generation is spared no more.
func (s *Store) asked(key string) bool {
	kept, err := s.dir.Read(askedFile)
	return err == nil && string(kept) == key && key == s.nextKey()
}

// OpenKey returns the key of that name, for an identity whose key is not made by NextKey.
func (s *Store) OpenKey(ctx context.Context, name string) (crypto.Signer, error) {
	return s.keys.Open(ctx, name)
}

// Stage checks g against the key of that name and makes it the pending identity, on the medium. The name "" is for a
// grant without a certificate.
func (s *Store) Stage(ctx context.Context, key string, g Grant) (*Identity, error) {
	signer, err := s.signer(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("stage identity: %w", err)
	}
	if err := Check(g, signer, time.Now()); err != nil {
		return nil, fmt.Errorf("stage identity: %w", err)
	}
	id := &Identity{Grant: g, Generation: s.highest + 1, Key: key, signer: signer}
	if err := s.dir.Write(pendingFile, encode(id)); err != nil {
		return nil, fmt.Errorf("stage identity: %w", err)
	}
	// A cut from here on leaves both identities; the pending one is proven again.
	s.highest = id.Generation
	s.pending.Store(id)
	return id, nil
}

func (s *Store) signer(ctx context.Context, key string) (crypto.Signer, error) {
	if key == "" {
		return nil, nil
	}
	return s.keys.Open(ctx, key)
}

// Promote puts the pending identity into force by one rename.
func (s *Store) Promote() error {
	id := s.Pending()
	if id == nil {
		return fault.As(fault.Fatal, errors.New("promote identity: none is pending"))
	}
	if err := s.dir.Rename(pendingFile, currentFile); err != nil {
		return fmt.Errorf("promote identity: %w", err)
	}
	// A cut from here on leaves the old key without an identity: Sweep destroys it.
	s.current.Store(id)
	s.pending.Store(nil)
	s.lost = nil
	return nil
}

// Drop gives the pending identity up. Its generation is not given again.
func (s *Store) Drop() error {
	if s.Pending() == nil {
		return nil
	}
	if err := s.dir.Rename(pendingFile, droppedFile); err != nil {
		return fmt.Errorf("drop identity: %w", err)
	}
	s.pending.Store(nil)
	return nil
}

// Sweep destroys the keys of ours that no identity names.
func (s *Store) Sweep(ctx context.Context) error {
	names, err := s.keys.Names(ctx)
	if err != nil {
		return fmt.Errorf("sweep keys: %w", err)
	}
	for _, name := range names {
		if !ours(name) || s.named(name) || s.asked(name) {
			continue
		}
		if err := s.keys.Delete(ctx, name); err != nil {
			return fmt.Errorf("sweep keys: %w", err)
		}
	}
	return nil
}

func ours(key string) bool { return strings.HasPrefix(key, KeyPrefix) }

func (s *Store) named(key string) bool {
	for _, id := range []*Identity{s.Current(), s.Pending()} {
		if id != nil && id.Key == key {
			return true
		}
	}
	return slices.ContainsFunc(s.lost, func(l loss) bool { return l.id.Key == key })
}
