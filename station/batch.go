package station

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/identity"
)

// Batch is work on an order.
type Batch struct {
	Order     *Order
	Reach     func(target string) Target
	Signer    Signer
	Registrar Registrar     // nil registers nowhere
	Parallel  int           // devices at one time; 4 when zero
	Tries     int           // for each step of a device, where time may help; 3 when zero
	Pause     time.Duration // before the second try, doubled before each further one; 2 s when zero
	Limit     time.Duration // for one device; 5 min when zero
	// Progress is told of each step of each device; nil is not. It is called by one goroutine at a time.
	Progress func(Item)

	telling sync.Mutex
	unsaved error // guarded by telling: what could not be written down
}

// Run brings every device of the order as far as it goes, and returns an error where one is not finished. What is
// finished is left alone. It may be cut anywhere and called again.
func (b *Batch) Run(ctx context.Context) error {
	b.fill()
	b.unsaved = nil
	var running sync.WaitGroup
	room := make(chan struct{}, b.Parallel)
	for _, i := range b.Order.Items() {
		if i.State == Installed {
			continue
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-room }()
			b.work(ctx, i.Target)
		})
	}
	running.Wait()
	return errors.Join(ctx.Err(), b.unsaved, b.unfinished())
}

func (b *Batch) fill() {
	if b.Parallel <= 0 {
		b.Parallel = 4
	}
	if b.Tries <= 0 {
		b.Tries = 3
	}
	if b.Pause <= 0 {
		b.Pause = 2 * time.Second
	}
	if b.Limit <= 0 {
		b.Limit = 5 * time.Minute
	}
}

// unfinished says how many devices have not got their certificate.
func (b *Batch) unfinished() error {
	items, left := b.Order.Items(), 0
	for _, i := range items {
		if i.State != Installed {
			left++
		}
	}
	if left == 0 {
		return nil
	}
	return fault.AskOperator(fmt.Errorf("%d of %d devices are not finished", left, len(items)), "see to them, and run the same command again: it goes on where it stopped")
}

// work brings one device as far as it goes. The error is in the journal, not returned: the others go on.
func (b *Batch) work(ctx context.Context, target string) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.Limit, fmt.Errorf("not finished within %v", b.Limit))
	defer cancel()
	err := b.advance(ctx, target)
	switch {
	case err == nil || ctx.Err() == nil:
	case fault.Stopped(ctx.Err()):
		err = errors.New("stopped")
	default:
		err = context.Cause(ctx)
	}
	i, saving := b.Order.update(target, func(i *Item) {
		i.Tries++
		i.fail(err)
	})
	if saving != nil {
		i.fail(saving)
		b.lost(saving)
	}
	if i.Error != "" {
		b.tell(i)
	}
}

func (i *Item) fail(err error) {
	i.Error, i.Hint = "", ""
	if err != nil {
		i.Error, i.Hint = printable(err.Error()), fault.Hint(err)
	}
}

// lost notes that the journal was not written: an order on a full disk has not gone well, however far it came.
func (b *Batch) lost(err error) {
	b.telling.Lock()
	defer b.telling.Unlock()
	if b.unsaved == nil {
		b.unsaved = err
	}
}

func (b *Batch) tell(i Item) {
	if b.Progress == nil {
		return
	}
	b.telling.Lock()
	defer b.telling.Unlock()
	b.Progress(i)
}

// advance takes the steps that are left. The request is fetched anew each time: a device may have made another key. But
// one that was to take its chain may have done so, and would be asked for the request of its next certificate.
func (b *Batch) advance(ctx context.Context, target string) error {
	reach := b.Reach(target)
	if b.item(target).State == Registered {
		err := b.patiently(ctx, func() error { return b.install(ctx, target, reach) })
		if err == nil || fault.Of(err) == fault.Transient {
			return err
		}
	}
	for _, step := range []func(context.Context, string, Target) error{b.request, b.sign, b.register, b.install} {
		if err := b.patiently(ctx, func() error { return step(ctx, target, reach) }); err != nil {
			return err
		}
	}
	return nil
}

// patiently tries again where time may help.
func (b *Batch) patiently(ctx context.Context, step func() error) error {
	pause := b.Pause
	for try := 1; ; try++ {
		err := step()
		if err == nil || try == b.Tries || fault.Of(err) != fault.Transient || ctx.Err() != nil {
			return err
		}
		if waiting := sleep(ctx, max(pause, fault.RetryAfter(err))); waiting != nil {
			return err
		}
		pause *= 2
	}
}

func (b *Batch) item(target string) Item {
	b.Order.mu.Lock()
	defer b.Order.mu.Unlock()
	return *b.Order.items[target]
}

func (b *Batch) move(target string, change func(*Item)) error {
	i, err := b.Order.update(target, change)
	if err == nil {
		i.fail(nil)
		b.tell(i)
	}
	return err
}

func (b *Batch) request(ctx context.Context, target string, reach Target) error {
	text, err := reach.Request(ctx)
	if err != nil {
		return err
	}
	r, err := ParseRequest(text)
	if err != nil {
		return fault.As(fault.Permanent, err)
	}
	i := b.item(target)
	cn := r.Subject.CommonName
	if i.Expected != "" && cn != i.Expected {
		return fault.AskOperator(fmt.Errorf("%s says that it is %q, where the order has %q", target, cn, i.Expected), "correct the list, or the device's device.id")
	}
	if err := b.Order.claim(cn, target); err != nil {
		return err
	}
	if before, err := ParseRequest([]byte(i.Request)); err == nil && sameKey(before.PublicKey, r.PublicKey) && i.Device == cn {
		return nil // what is signed for it is good
	}
	serial, err := NewSerial()
	if err != nil {
		return err
	}
	return b.move(target, func(i *Item) {
		i.Device, i.Request, i.Serial, i.Chain, i.State = cn, string(EncodeRequest(r.Raw)), serial, "", Requested
	})
}

func (b *Batch) sign(ctx context.Context, target string, _ Target) error {
	i := b.item(target)
	if i.State != Requested {
		return nil
	}
	r, err := ParseRequest([]byte(i.Request))
	if err != nil {
		return err
	}
	chain, err := b.Signer.Sign(ctx, r, i.Serial)
	if err != nil {
		return err
	}
	if err := CheckChain(chain, r.PublicKey); err != nil {
		return fault.As(fault.Permanent, err)
	}
	return b.move(target, func(i *Item) { i.Chain, i.State = identity.EncodeChain(chain), Signed })
}

func (b *Batch) register(ctx context.Context, target string, _ Target) error {
	i := b.item(target)
	if i.State != Signed {
		return nil
	}
	chain, err := identity.ParseChain([]byte(i.Chain))
	if err != nil {
		return err
	}
	if b.Registrar != nil {
		if err := b.Registrar.Register(ctx, i.Device, chain); err != nil {
			return err
		}
	}
	return b.move(target, func(i *Item) { i.State = Registered })
}

func (b *Batch) install(ctx context.Context, target string, reach Target) error {
	if err := reach.Install(ctx, []byte(b.item(target).Chain)); err != nil {
		return err
	}
	return b.move(target, func(i *Item) { i.State = Installed })
}

// LocalSigner signs with an authority of our own.
type LocalSigner struct {
	Authority *Authority
	Days      int // 0 is the longest that the policy allows
}

// Sign implements Signer: the same serial gives the same certificate.
func (l LocalSigner) Sign(ctx context.Context, r *x509.CertificateRequest, serial string) ([]*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return l.Authority.Sign(r, l.Days, serial)
}
