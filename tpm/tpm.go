// Package tpm keeps keys in a TPM 2.0: children of its storage root key, which lie on disk as blobs that only
// this one chip can load.
//
// A blob is a TSS2 PRIVATE KEY file, so that openssl and tpm2-tools open the same key. Between two operations the
// chip holds nothing of ours, but for the key that signed last where a resource manager makes room for everybody,
// and for the keys that it was told to keep at persistent handles.
package tpm

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

// Config says which TPM, and where the blobs of its keys lie.
type Config struct {
	TCTI      string         // device:/dev/tpmrm0 when empty, swtpm:path=SOCKET or swtpm:host=H,port=P
	Dir       string         // directory of the blobs, NAME.tss2.pem
	Algorithm keys.Algorithm // of keys to be created; keys.ECDSAP256 when empty
	Step      durable.Step   // asked before and after each change of Dir; nil never objects
	// Timeout is how long the TPM may take for one answer, 30 s when zero. Making a key may take four times that:
	// slow chips look for the primes of an RSA key for more than a minute.
	Timeout time.Duration

	OwnerAuthFile string // file with the password of the owner hierarchy; none when empty
	// KeyAuthFile is a file with the password that new keys get, and that keys have which were made with one. Such
	// keys count wrong passwords and power cuts, up to the TPM's lockout; without a password they do neither.
	KeyAuthFile string
	// Persistent is the first of 16 persistent handles at which the TPM keeps new keys too, beside their files;
	// 0x81008000 is where the TCG's registry of handles has room for them. None when zero.
	Persistent uint32
	// PadHere has new RSA keys made so that the agent pads RSA-PSS. Without it that is so where the TPM pads wrongly.
	PadHere bool
	PCR     PCR // what new keys are tied to
	// Endorsement is the kind of endorsement key by which a cloud knows the chip: EndorsementRSA or EndorsementECC. When
	// empty it is RSA, or ECC where the maker of the chip has certified that one only.
	Endorsement string
}

// Store is a directory of keys that one TPM can load. It satisfies keys.Store, keys.Inspector,
// keys.Attester, keys.Prover and keys.Endorsed.
type Store struct {
	dir       *durable.Dir
	link      link
	algorithm keys.Algorithm
	timeout   time.Duration
	ownerAuth secret
	keyAuth   secret
	padHere   bool
	pcr       PCR
	reading   bool // nothing is to be written

	endorsementKind string

	persistent tpm2.TPMHandle // the first one, or 0

	turn chan struct{} // holds one token; who has it may speak to the TPM

	// Guarded by turn.
	opened   map[string]*key // by name
	kept     kept
	guesses  map[guess]bool  // whether the TPM took them
	approved *approval       // the one that was good the last time
	macs     map[string]*mac // by name
	derived  map[string]derivedBefore
}

const suffix = ".tss2.pem"

// Open opens the directory. It does not speak to the TPM, whose driver may come later than we do.
func Open(c Config) (*Store, error) {
	s, err := open(c, nil)
	if err != nil {
		return nil, err
	}
	if s.dir, err = durable.Open(c.Dir, c.Step); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return s, nil
}

func open(c Config, dir *durable.Dir) (*Store, error) {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	l, err := parseTCTI(c.TCTI, timeout)
	if err != nil {
		return nil, err
	}
	algorithm, err := keys.ParseAlgorithm(string(c.Algorithm))
	if err != nil {
		return nil, fault.As(fault.Operator, err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, link: l, algorithm: algorithm, timeout: timeout,
		ownerAuth: secret{c.OwnerAuthFile, "keys.owner_auth"}, keyAuth: secret{c.KeyAuthFile, "keys.key_auth"},
		padHere: c.PadHere, pcr: c.PCR, persistent: tpm2.TPMHandle(c.Persistent),
		turn: make(chan struct{}, 1), opened: map[string]*key{}, guesses: map[guess]bool{},
		endorsementKind: c.Endorsement, macs: map[string]*mac{}, derived: map[string]derivedBefore{}}
	s.turn <- struct{}{}
	return s, nil
}

func (c Config) check() error {
	if err := c.PCR.check(); err != nil {
		return fault.As(fault.Operator, err)
	}
	if c.PCR.on() && c.KeyAuthFile != "" {
		return fault.AskOperator(errors.New("a key is opened by a PCR policy or by a password, not by both"), "take keys.pcr or keys.key_auth out")
	}
	if err := checkEndorsement(c.Endorsement); err != nil {
		return err
	}
	return checkPersistent(c.Persistent)
}

// Create implements keys.Store. The key has signed, and the signature was verified, before it is written down.
func (s *Store) Create(ctx context.Context, name string) (crypto.Signer, error) {
	if err := keys.CheckName(name); err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("create key: %w", err))
	}
	var k *key
	err := s.operate(ctx, func(t *session) (err error) {
		k, err = s.create(t, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create key %s: %w", name, err)
	}
	return k, nil
}

func (s *Store) create(t *session, name string) (*key, error) {
	if err := s.vacant(name); err != nil {
		return nil, err
	}
	k, err := s.fresh(t, name)
	if err != nil {
		return nil, err
	}
	// A cut up to here leaves nothing: neither the directory nor the chip knows of the key.
	if err := s.remember(name, k.saved.parent); err != nil {
		return nil, err
	}
	if err := s.dir.Write(name+suffix, k.blob.pem()); err != nil {
		return nil, err
	}
	// A cut here leaves a key that works; the next Open has the TPM keep it.
	if err := s.moveIn(t, k); err != nil {
		return nil, errors.Join(err, s.dir.Remove(name+suffix))
	}
	s.opened[name] = k
	return k, nil
}

func (s *Store) vacant(name string) error {
	_, err := s.dir.Read(name + suffix)
	if err == nil {
		return keys.ErrExists
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Open implements keys.Store. The first opening of a key proves with a signature that this TPM is the one that
// made it.
func (s *Store) Open(ctx context.Context, name string) (crypto.Signer, error) {
	if err := keys.CheckName(name); err != nil {
		return nil, fault.As(fault.Permanent, fmt.Errorf("open key: %w", err))
	}
	var k *key
	err := s.operate(ctx, func(t *session) (err error) {
		k, err = s.open(t, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", name, err)
	}
	return k, nil
}

func (s *Store) open(t *session, name string) (*key, error) {
	b, err := s.dir.Read(name + suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, keys.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	blob, err := parseBlob(b)
	if err != nil {
		return nil, fault.AskOperator(fmt.Errorf("%s: %w", s.dir.File(name+suffix), err),
			"put the file back from a backup of this device, or remove it: the agent then enrolls with a new key")
	}
	if k := s.opened[name]; k != nil && bytes.Equal(k.blob.private, blob.private) {
		return k, nil
	}
	k, err := s.load(t, name, blob)
	if err != nil {
		return nil, err
	}
	s.note(t, k)
	s.opened[name] = k
	return k, nil
}

// note makes up for what a power cut or an older release left undone. The key works as it is, so that its failing
// is nobody's business: a disk that is full must not keep a device from its hub.
func (s *Store) note(t *session, k *key) {
	if s.reading {
		return
	}
	_ = s.remember(k.name, k.saved.parent)
	_ = s.moveIn(t, k)
}

// Delete implements keys.Store. The chip is asked only where it may keep the key itself.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := keys.CheckName(name); err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("delete key: %w", err))
	}
	remove := s.delete
	if s.persistent != 0 {
		remove = s.moveOut
	}
	if err := remove(ctx, name); err != nil {
		return fmt.Errorf("delete key %s: %w", name, err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name string) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.release()
	return s.remove(name)
}

func (s *Store) remove(name string) error {
	if err := s.dir.Remove(name + suffix); err != nil {
		return err
	}
	if k := s.opened[name]; k != nil {
		k.gone = true
		delete(s.opened, name)
	}
	return nil
}

// Names implements keys.Store.
func (s *Store) Names(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	files, err := s.dir.Names()
	if s.reading && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var names []string
	for _, file := range files {
		if name, ours := strings.CutSuffix(file, suffix); ours && keys.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names) // a-1.tss2.pem comes before a.tss2.pem, but a before a-1
	return names, nil
}
