package tpm

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/keys"
)

// recordFile says for each key under which parent it lies. The Name of the storage root key is that of the TPM's
// owner: a TPM that was cleared derives another one.
const recordFile = "srk.json"

type record struct {
	Parents map[string]string `json:"parents"` // Name in hex, by key; of the cloud's HMAC keys by "hmac:" and the key
}

// readRecord never fails: the record only explains why a key does not load, so its damage keeps no key from
// loading. It is written anew with the next key.
func (s *Store) readRecord() record {
	r := record{Parents: map[string]string{}}
	if s.dir == nil {
		return r
	}
	if b, err := s.dir.Read(recordFile); err == nil && json.Unmarshal(b, &r) != nil || r.Parents == nil {
		return record{Parents: map[string]string{}}
	}
	return r
}

// parentOf is the Name of the parent that the key was last seen under; empty where nobody knows.
func (s *Store) parentOf(name string) []byte {
	if name == "" {
		return nil
	}
	b, err := hex.DecodeString(s.readRecord().Parents[name])
	if err != nil {
		return nil
	}
	return b
}

// remember writes the parent of a key down, and forgets keys that are no more. A power cut leaves the record
// before the key or the old one, and either is right about all keys that exist.
func (s *Store) remember(name string, parent tpm2.TPM2BName) error {
	r := s.readRecord()
	before := maps.Clone(r.Parents)
	for other := range r.Parents {
		if _, err := s.dir.Read(fileOf(other)); err != nil {
			delete(r.Parents, other)
		}
	}
	r.Parents[name] = hex.EncodeToString(parent.Buffer)
	if maps.Equal(before, r.Parents) {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("record of the parents: %w", err)
	}
	return s.dir.Write(recordFile, append(b, '\n'))
}

// fileOf is the file of an entry's key.
func fileOf(entry string) string {
	if name, ok := strings.CutPrefix(entry, macEntry); ok {
		return name + macSuffix
	}
	return entry + suffix
}

const (
	hintForeign = "this key was made by another TPM, the TPM was cleared, or the file is damaged: remove the file and let the device enroll again"
	hintGone    = "the TPM was cleared or replaced, and no backup brings this key back: let the device enroll again, with its bootstrap credential or by the TPM's attestation"
	// hintDamaged is for a key whose parent is the one that it was made under.
	hintDamaged = "the TPM is the one that made this key, so the key's file is damaged: put it back from a backup of this device, or remove it and let the device enroll again"
)

// labelForeign labels the answer to a blob: what the TPM would always say again means that the blob is not its own,
// or damaged; which of the two, the Name of its parent tells where it is recorded.
func labelForeign(doing string, err error, present, recorded []byte) error {
	err = label(doing, err)
	switch {
	case err == nil || fault.Of(err) != fault.Permanent:
		return err
	case len(recorded) == 0:
		return fault.AskOperator(err, hintForeign)
	case bytes.Equal(present, recorded):
		return fault.AskOperator(err, hintDamaged)
	}
	return gone(err)
}

func gone(err error) error {
	return fault.AskOperator(fmt.Errorf("%w: %w", keys.ErrGone, err), hintGone)
}
