package station

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
	"github.com/devid-agent/devid-agent/keys"
)

// Kinds of authorities, from the top: the supply chain of Microsoft Learn, "Understand how X.509 CA certificates are
// used in IoT". Each may sign those below it.
const (
	Root       = "root"
	Company    = "company"
	Factory    = "factory"
	Technician = "technician"
)

// kinds says for each kind how many authorities may follow below it, and how long its certificate lives.
var kinds = map[string]struct{ below, days int }{
	Root: {3, 25 * 365}, Company: {2, 15 * 365}, Factory: {1, 5 * 365}, Technician: {0, 365},
}

// ErrUnfinished says that an authority has a key and a request, and no certificate yet.
var ErrUnfinished = errors.New("the authority has no certificate yet")

// charter is ca.json: what an authority is, written before its key is made.
type charter struct {
	Kind         string `json:"kind"`
	Name         string `json:"name"`
	Organization string `json:"organization,omitempty"`
	Days         int    `json:"days"` // life of its own certificate, as it is asked for
	Key          string `json:"key"`  // name of its key in Place
	Place        Place  `json:"place"`
	Policy       Policy `json:"policy"`
}

const (
	charterFile = "ca.json"
	chainFile   = "chain.pem"
	requestFile = "request.pem"
)

// Authority is a certificate authority in a directory: its chain, the journal of what it issued, and its key there or
// in hardware. Its methods may be called side by side, also by several processes.
type Authority struct {
	charter charter
	dir     *durable.Dir
	step    durable.Step
	chain   []*x509.Certificate // its own first
	store   keys.Store
	key     crypto.Signer
	journal *journal
}

// OpenAuthority opens the authority in dir. Its key is asked for, and it is the one of its certificate. ErrUnfinished
// where it waits for its certificate.
//
// step is asked before and after each change of the directory; nil never objects.
func OpenAuthority(ctx context.Context, dir string, step durable.Step) (*Authority, error) {
	a, err := openAuthority(ctx, dir, step)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", dir, err)
	}
	if a.chain == nil {
		return nil, errors.Join(fault.AskOperator(fmt.Errorf("authority %s: %w", dir, ErrUnfinished),
			"have "+filepath.Join(dir, requestFile)+" certified above: devid-station ca certify; then devid-station ca install"), a.Close())
	}
	return a, nil
}

// openAuthority opens it with its chain or without.
func openAuthority(ctx context.Context, dir string, step durable.Step) (*Authority, error) {
	a := &Authority{dir: durable.Look(dir), step: step}
	if err := a.readCharter(); err != nil {
		return nil, err
	}
	var err error
	if a.dir, err = durable.Open(dir, step); err != nil {
		return nil, err
	}
	if err := a.openParts(); err != nil {
		return nil, err
	}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Authority) readCharter() error {
	b, err := a.dir.Read(charterFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.AskOperator(err, "make one: devid-station ca init, or name its directory with --ca")
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &a.charter); err != nil {
		return fault.AskOperator(fmt.Errorf("%s: %w", charterFile, err), "put the file back from a backup, or correct it")
	}
	if _, known := kinds[a.charter.Kind]; !known {
		return fault.AskOperator(fmt.Errorf("%s: unknown kind %q", charterFile, a.charter.Kind), "write root, company, factory or technician")
	}
	return a.charter.Policy.check()
}

// openParts opens the journal and the place of the key.
func (a *Authority) openParts() (err error) {
	if a.journal, err = openJournal(a.dir.File("issued"), a.step); err != nil {
		return err
	}
	a.store, err = a.charter.Place.open(a.dir.File("keys"))
	return err
}

func (a *Authority) open(ctx context.Context) (err error) {
	if a.key, err = a.store.Open(ctx, a.charter.Key); err != nil {
		return err
	}
	b, err := a.dir.Read(chainFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if a.chain, err = identity.ParseChain(b); err == nil {
		err = CheckChain(a.chain, a.key.Public())
	}
	if err != nil {
		return fault.AskOperator(fmt.Errorf("%s: %w", chainFile, err), "put the file back from a backup")
	}
	return nil
}

// Close ends what the place of the key has started.
func (a *Authority) Close() error { return closeStore(a.store) }

// Kind is root, company, factory or technician.
func (a *Authority) Kind() string { return a.charter.Kind }

// Place is where its key lives, as a person would say it.
func (a *Authority) Place() string { return a.charter.Place.String() }

// Policy is what it signs for devices.
func (a *Authority) Policy() Policy { return a.charter.Policy }

// Certificate is its own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.chain[0] }

// Chain is its own certificate and those above it, up to the root.
func (a *Authority) Chain() []*x509.Certificate { return slices.Clone(a.chain) }

// Issued lists what it has issued and reserved, oldest first.
func (a *Authority) Issued() ([]Issued, error) { return a.journal.all() }

// Signer is its key, for signatures that are no certificates: a report.
func (a *Authority) Signer() crypto.Signer { return a.key }
