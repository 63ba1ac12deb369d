package station

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// Issued is one certificate in the journal of an authority.
type Issued struct {
	Serial      string    `json:"serial"` // hex, in lower case
	Subject     string    `json:"subject"`
	For         string    `json:"for"`         // device, proof, or the kind of an authority
	Key         string    `json:"key"`         // SHA-256 of the SubjectPublicKeyInfo, in hex
	At          time.Time `json:"at"`          // when the serial was reserved
	NotAfter    time.Time `json:"not_after"`   // zero until it is signed
	Certificate string    `json:"certificate"` // PEM; empty while only the serial is reserved
}

// journal is what an authority has issued, a file for each serial. A serial is reserved on the medium before it is
// signed, and its certificate is on the medium before anybody gets it.
type journal struct{ dir *durable.Dir }

// openJournal opens it while nobody writes: what a cut left is swept, and what is being written looks the same.
func openJournal(path string, step durable.Step) (*journal, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, durable.Label("make", path, err)
	}
	lock, err := hold(path, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	dir, err := durable.Open(path, step)
	return &journal{dir}, err
}

// newSerial is a random serial of 159 bits: RFC 5280, 4.1.2.2 allows 20 octets, and the first bit is the sign.
func newSerial() (*big.Int, error) {
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
		if err != nil || n.Sign() > 0 {
			return n, err
		}
	}
}

// NewSerial returns a serial that a caller keeps for one certificate: signing twice with it gives the same certificate.
func NewSerial() (string, error) {
	n, err := newSerial()
	if err != nil {
		return "", fmt.Errorf("draw a serial: %w", err)
	}
	return n.Text(16), nil
}

// issue returns the certificate of i.Serial: the one that was issued, or the one that sign makes. Another key or
// subject for a serial that is taken is refused.
func (j *journal) issue(i Issued, sign func() ([]byte, time.Time, error)) (Issued, error) {
	lock, err := hold(j.dir.Path(), syscall.LOCK_EX)
	if err != nil {
		return Issued{}, err
	}
	defer lock.Close()
	before, err := j.read(i.Serial)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A cut after this leaves a serial that nobody got; it is not drawn again but by whoever drew it.
		if err := j.write(i); err != nil {
			return Issued{}, err
		}
	case err != nil:
		return Issued{}, err
	case before.Key != i.Key || before.Subject != i.Subject || before.For != i.For:
		return Issued{}, fault.As(fault.Permanent, fmt.Errorf("serial %s belongs to %s", i.Serial, before.Subject))
	case before.Certificate != "":
		return before, nil
	}
	text, notAfter, err := sign()
	if err != nil {
		return Issued{}, err
	}
	// A cut before this loses a signature that nobody has seen.
	i.Certificate, i.NotAfter = string(text), notAfter
	return i, j.write(i)
}

func (j *journal) write(i Issued) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return j.dir.Write(i.Serial+".json", append(b, '\n'))
}

func (j *journal) read(serial string) (Issued, error) {
	if n, ok := new(big.Int).SetString(serial, 16); !ok || n.Sign() <= 0 || n.BitLen() > 159 || n.Text(16) != serial {
		return Issued{}, fault.As(fault.Permanent, fmt.Errorf("%q is no serial", serial))
	}
	b, err := j.dir.Read(serial + ".json")
	if err != nil {
		return Issued{}, err
	}
	var i Issued
	if err := json.Unmarshal(b, &i); err != nil {
		return Issued{}, fault.AskOperator(fmt.Errorf("%s: %w", j.dir.File(serial+".json"), err), "put the file back from a backup")
	}
	return i, nil
}

// all lists what was issued and reserved, oldest first.
func (j *journal) all() ([]Issued, error) {
	names, err := j.dir.Names()
	if err != nil {
		return nil, err
	}
	var list []Issued
	for _, name := range names {
		serial, ours := strings.CutSuffix(name, ".json")
		if !ours {
			continue
		}
		i, err := j.read(serial)
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	slices.SortStableFunc(list, func(a, b Issued) int { return a.At.Compare(b.At) })
	return list, nil
}
