package station

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
	"github.com/devid-agent/devid-agent/internal/durable"
)

// How far an item of an order has come. Each is on the medium before the next is begun.
const (
	Queued     = "queued"
	Requested  = "requested"  // its certificate request is here
	Signed     = "signed"     // its chain is here
	Registered = "registered" // the hub or DPS knows it
	Installed  = "installed"  // the device has taken its chain: finished
)

// Item is one device of an order.
type Item struct {
	Target   string    `json:"target"`           // host, or file of the request
	Expected string    `json:"expected"`         // device ID that the order says it has; any when empty
	Device   string    `json:"device,omitempty"` // as its request says
	State    string    `json:"state"`
	Request  string    `json:"request,omitempty"` // PEM
	Serial   string    `json:"serial,omitempty"`  // drawn before the request is signed, so that no repeat signs twice
	Chain    string    `json:"chain,omitempty"`   // PEM
	Error    string    `json:"error,omitempty"`   // why it got no further, the last time
	Hint     string    `json:"hint,omitempty"`    // what a person can do
	Tries    int       `json:"tries"`             // runs that worked on it
	Since    time.Time `json:"since"`             // when it came to State
}

// Leaf is the device's certificate, nil before it is signed.
func (i Item) Leaf() *x509.Certificate {
	chain, err := identity.ParseChain([]byte(i.Chain))
	if err != nil {
		return nil
	}
	return chain[0]
}

// Order is a batch of devices, journaled in a directory: a file for each device. One process at a time works on it.
type Order struct {
	path string
	dir  *durable.Dir // of the items
	lock *os.File

	mu    sync.Mutex
	items map[string]*Item  // by target
	names map[string]string // target by name of the device
}

const itemSuffix = ".json"

// OpenOrder opens the order in dir, or begins one. step is asked before and after each change of its journal; nil never
// objects.
func OpenOrder(dir string, step durable.Step) (*Order, error) {
	o, err := openOrder(dir, step)
	if err != nil {
		return nil, fmt.Errorf("order %s: %w", dir, err)
	}
	return o, nil
}

func openOrder(dir string, step durable.Step) (*Order, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, durable.Label("make", dir, err)
	}
	lock, err := hold(dir, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fault.AskOperator(errors.New("another devid-station works on this order"), "wait for it, or choose another --order")
	}
	if err != nil {
		return nil, err
	}
	o := &Order{path: dir, lock: lock, items: map[string]*Item{}, names: map[string]string{}}
	if o.dir, err = durable.Open(filepath.Join(dir, "items"), step); err == nil {
		err = o.load()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return o, nil
}

// hold locks dir as flock(2) says. The system gives the lock back when the file is closed, or the process ends.
func hold(dir string, how int) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, durable.Label("open", path, err)
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// Close gives the order back.
func (o *Order) Close() error { return o.lock.Close() }

func (o *Order) load() error {
	names, err := o.dir.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, itemSuffix) {
			continue
		}
		b, err := o.dir.Read(name)
		if err != nil {
			return err
		}
		i := &Item{}
		if err = json.Unmarshal(b, i); err == nil && i.Target == "" {
			err = errors.New("it names no target")
		}
		if err != nil {
			return fault.AskOperator(fmt.Errorf("%s: damaged: %w", o.dir.File(name), err), "put the file back from a backup, or remove it to begin that device anew")
		}
		o.items[i.Target] = i
		if i.Device != "" {
			o.names[i.Device] = i.Target
		}
	}
	return nil
}

// Add puts a device into the order, once. A target that is in it with another expectation is refused.
func (o *Order) Add(target, expected string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i := o.items[target]; i != nil {
		if expected != "" && i.Expected != expected {
			return fault.AskOperator(fmt.Errorf("order: %s is in it as %q, not as %q", target, i.Expected, expected), "choose another --order, or correct the list")
		}
		return nil
	}
	return o.save(&Item{Target: target, Expected: expected, State: Queued})
}

// Drop takes a target out of the order: one that was a mistake. One with a certificate stays, for the report.
func (o *Order) Drop(target string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := o.items[target]
	switch {
	case i == nil:
		return fault.AskOperator(fmt.Errorf("order: %s is not in it", target), "see report.csv for what is")
	case i.Chain != "":
		return fault.AskOperator(fmt.Errorf("order: %s has a certificate: %s", target, i.State), "finish it, and disable the device at the hub")
	}
	delete(o.items, target)
	delete(o.names, i.Device)
	return o.dir.Remove(fileOf(target))
}

// Items lists the order by target.
func (o *Order) Items() []Item {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []Item
	for _, i := range o.items {
		list = append(list, *i)
	}
	slices.SortFunc(list, func(a, b Item) int { return strings.Compare(a.Target, b.Target) })
	return list
}

// save writes an item down. The caller holds the mutex.
func (o *Order) save(i *Item) error {
	if i.Since.IsZero() {
		i.Since = time.Now().UTC()
	}
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	if err := o.dir.Write(fileOf(i.Target), append(b, '\n')); err != nil {
		return err
	}
	o.items[i.Target] = i
	return nil
}

// fileOf is a file name that no target can make a path of.
func fileOf(target string) string {
	name := url.QueryEscape(target)
	if name == "" || len(name) > 200 || strings.HasPrefix(name, ".") {
		name = sum([]byte(target))
	}
	return name + itemSuffix
}

// update changes an item by change, and writes it down.
func (o *Order) update(target string, change func(*Item)) (Item, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := *o.items[target]
	before := i.State
	change(&i)
	if i.State != before {
		i.Since = time.Now().UTC()
	}
	return i, o.save(&i)
}

// claim gives the name to target. Of two targets with one name the second is refused, whichever that is: one of them is
// not what it says.
func (o *Order) claim(name, target string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if other, taken := o.names[name]; taken && other != target {
		return fault.AskOperator(fmt.Errorf("%s says that it is %s, and so does %s", target, name, other),
			"give each device its own name (device.id), and find out which of the two is right")
	}
	o.names[name] = target
	return nil
}

// Path is the directory of the order.
func (o *Order) Path() string { return o.path }

// Target is how an order reaches one device.
type Target interface {
	// Request returns the device's certificate request, PEM or DER.
	Request(ctx context.Context) ([]byte, error)
	// Install has taken the chain (PEM, leaf first) into force at the device when it returns nil. Twice is legal.
	Install(ctx context.Context, chain []byte) error
}

// Signer certifies devices.
type Signer interface {
	// Sign returns the chain of the device, leaf first. With the same serial it may be asked again.
	Sign(ctx context.Context, r *x509.CertificateRequest, serial string) ([]*x509.Certificate, error)
}

// Registrar makes devices known to the cloud.
type Registrar interface {
	// Register has made the device known when it returns nil. Twice is legal.
	Register(ctx context.Context, device string, chain []*x509.Certificate) error
}
