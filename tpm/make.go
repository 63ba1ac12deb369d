package tpm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/devid-agent/devid-agent/keys"
)

// fresh makes a key of the store's kind that has proven that it signs. RSA keys are made anew, with the bare RSA
// operation, where the TPM pads PSS as nobody wants it.
func (s *Store) fresh(t *session, name string) (*key, error) {
	p := plan{algorithm: s.algorithm, raw: s.padHere && isRSA(s.algorithm), locked: s.keyAuth.file != ""}
	if s.pcr.on() {
		who, err := s.pcr.authority()
		if err != nil {
			return nil, err
		}
		p.policy = who.policy
	}
	k, err := s.born(t, name, p)
	if err != nil || k.padding != PaddedNot {
		return k, err
	}
	t.drop(k)
	p.raw = true
	return s.born(t, name, p)
}

func (s *Store) born(t *session, name string, p plan) (*key, error) {
	b, err := t.make(p)
	if err != nil {
		return nil, err
	}
	return s.load(t, name, b)
}

func isRSA(a keys.Algorithm) bool { return parameters(a).Type == tpm2.TPMAlgRSA }

// make has the TPM make a key. Nothing of it stays in the TPM.
func (t *session) make(p plan) (blob, error) {
	if err := t.capable(p.algorithm); err != nil {
		return blob{}, err
	}
	root, known, err := t.root()
	if err != nil {
		return blob{}, err
	}
	defer t.flush(root.handle)
	auth, whisper, err := t.newPassword(p, root)
	if err != nil {
		return blob{}, err
	}
	// A TPMS_SENSITIVE_CREATE without data of its own, the template, no data from outside, no PCRs.
	a, err := t.send(command{code: tpm2.TPMCCCreate, on: []object{root}, whisper: whisper, parameters: [][]byte{
		sized(slices.Concat(sized(auth), sized(nil))), sized(tpm2.Marshal(template(p))), sized(nil), u32(0)}})
	if err != nil {
		return blob{}, labelUnable(p.algorithm, "make the key", err)
	}
	private := a.sized()
	public, err := a.public()
	if err := errors.Join(err, a.whole()); err != nil {
		return blob{}, fmt.Errorf("make the key: public area: %w", err)
	}
	b, err := newBlob(known, public, private)
	b.locked = p.locked
	return b, err
}

// newPassword is the password that the key is to get, and the session in which it travels.
func (t *session) newPassword(p plan, parent object) ([]byte, *opener, error) {
	if !p.locked {
		return nil, nil, nil
	}
	auth, err := t.store.keyAuth.read()
	if err != nil {
		return nil, nil, err
	}
	whisper, err := t.whisper(parent)
	return auth, whisper, err
}

// capable asks before, because an unable TPM answers TPM2_Create with codes that may mean other things too.
func (t *session) capable(a keys.Algorithm) error {
	_, err := t.run(tpm2.TPMCCTestParms, nil, tpm2.Marshal(parameters(a)))
	if errors.Is(err, tpm2.TPMRCCommandCode) {
		return nil // a chip that cannot tell; TPM2_Create will
	}
	return labelUnable(a, "ask for "+string(a), err)
}
