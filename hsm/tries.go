package hsm

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// tries remembers, across power cuts, which PINs a token has refused: a token locks itself after a few wrong ones,
// and a restart loop is a quick way there.
//
// A try is written down before it is made, and struck out when the token accepts it. A cut between the two leaves a
// try without a verdict, of which there may be a few.
type tries struct {
	dir      *durable.Dir
	accepted []byte // fingerprint of the PIN that this process has logged in with: it costs no writes
}

const (
	triesFile    = "pin-tries.json"
	openVerdicts = 2  // tries of one PIN that may stay without a verdict
	mostTries    = 64 // older ones are forgotten
)

// notes is the file.
type notes struct {
	Salt  []byte `json:"salt"`
	Tries []try  `json:"tries"`
}

type try struct {
	Fingerprint []byte    `json:"fingerprint"`
	Refused     bool      `json:"refused"`
	Count       int       `json:"count"`
	At          time.Time `json:"at"`
}

// attempt is one PIN before one token.
type attempt struct {
	tries       *tries
	notes       notes
	fingerprint []byte
}

// begin returns the attempt if it may be made, and has written it down.
func (t *tries) begin(token wire.Token, pin secret) (*attempt, error) {
	n, err := t.read()
	if err != nil {
		return nil, err
	}
	f, err := fingerprint(n.Salt, token, pin)
	if err != nil {
		return nil, err
	}
	a := &attempt{tries: t, notes: n, fingerprint: f}
	if bytes.Equal(f, t.accepted) {
		return a, nil
	}
	now := try{Fingerprint: f, At: time.Now().UTC().Truncate(time.Second)}
	if i := a.index(); i >= 0 {
		now.Count = n.Tries[i].Count
		if err := t.refuse(n.Tries[i]); err != nil {
			return nil, err
		}
	}
	now.Count++
	return a, a.put(now)
}

func (t *tries) refuse(past try) error {
	when := past.At.Format(time.RFC3339)
	switch {
	case past.Refused:
		return fault.AskOperator(fmt.Errorf("the token refused this PIN at %s, so it is not tried again", when), hintPIN)
	case past.Count >= openVerdicts:
		return fault.AskOperator(fmt.Errorf("the module never said whether this PIN is right, last at %s, so it is not tried again", when),
			"try it by hand (pkcs11-tool --module MODULE --login --list-objects), then remove "+t.dir.File(triesFile))
	}
	return nil
}

// accept strikes the attempt out.
func (a *attempt) accept() error {
	a.tries.accepted = a.fingerprint
	return a.strike()
}

// strike forgets the attempt: it did no harm.
func (a *attempt) strike() error {
	i := a.index()
	if i < 0 {
		return nil
	}
	a.notes.Tries = slices.Delete(a.notes.Tries, i, i+1)
	return a.tries.write(a.notes)
}

// refused writes the verdict down.
func (a *attempt) refused() error {
	a.tries.accepted = nil
	return a.put(try{Fingerprint: a.fingerprint, Refused: true, At: time.Now().UTC().Truncate(time.Second)})
}

func (a *attempt) index() int {
	return slices.IndexFunc(a.notes.Tries, func(t try) bool { return bytes.Equal(t.Fingerprint, a.fingerprint) })
}

func (a *attempt) put(t try) error {
	if i := a.index(); i >= 0 {
		a.notes.Tries = slices.Delete(a.notes.Tries, i, i+1)
	}
	a.notes.Tries = append(a.notes.Tries, t)
	a.notes.Tries = a.notes.Tries[max(0, len(a.notes.Tries)-mostTries):]
	return a.tries.write(a.notes)
}

func (t *tries) read() (notes, error) {
	var n notes
	b, err := t.dir.Read(triesFile)
	if errors.Is(err, fs.ErrNotExist) {
		n.Salt = make([]byte, 16)
		_, err := rand.Read(n.Salt)
		return n, err
	}
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(b, &n); err != nil || len(n.Salt) == 0 {
		return n, fault.AskOperator(fmt.Errorf("%s: damaged, so it is not known which PINs the token has refused", t.dir.File(triesFile)),
			"make sure that the PIN file holds the right PIN, then remove "+t.dir.File(triesFile))
	}
	return n, nil
}

func (t *tries) write(n notes) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := t.dir.Write(triesFile, b); err != nil {
		return fmt.Errorf("write down that a PIN is tried: %w", err)
	}
	return nil
}

// fingerprint is slow to compute and of four bytes: PINs are short, and this one is not to be found by guessing.
func fingerprint(salt []byte, token wire.Token, pin secret) ([]byte, error) {
	named := fmt.Appendf(slices.Clone(salt), "%q %q %q %q", token.Label, token.Manufacturer, token.Model, token.Serial)
	return pbkdf2.Key(sha256.New, string(pin), named, 50_000, 4)
}
