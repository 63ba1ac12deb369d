package dial

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// lag is how long the addresses of one family wait for those of the other. RFC 8305, section 3, has 50 ms; on mobile
// networks two answers are often further apart.
const lag = 250 * time.Millisecond

// answer is what the resolver says of one family.
type answer struct {
	addresses []netip.Addr
	err       error
}

// resolve returns the addresses of name, and none and no error where the resolver fails and h knows some.
func (d *dialer) resolve(ctx context.Context, h *host, name string) ([]netip.Addr, error) {
	limit := resolving
	if h.known() {
		limit = hurried
	}
	silent := fmt.Errorf("the resolver does not answer within %v", limit)
	short, cancel := context.WithTimeoutCause(ctx, limit, silent)
	defer cancel()
	found, err := d.families(short, name)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(found) > 0, h.known():
		return found, nil
	case short.Err() != nil:
		return nil, &net.DNSError{UnwrapErr: silent, Err: silent.Error(), Name: name, IsTimeout: true}
	case err == nil:
		return nil, &net.DNSError{Err: "it has no address", Name: name, IsNotFound: true}
	}
	return nil, err
}

// families asks for both kinds of addresses at once. A resolver that answers for one family and stays silent for the
// other, which is not rare, must not hold up the first.
func (d *dialer) families(ctx context.Context, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	six, four := d.ask(ctx, "ip6", name), d.ask(ctx, "ip4", name)
	var found []netip.Addr
	var failed error
	for six != nil || four != nil {
		var a answer
		select {
		case a = <-six:
			six = nil
			found = append(a.addresses, found...)
		case a = <-four:
			four = nil
			found = append(found, a.addresses...)
		case <-ctx.Done():
			return found, cmp.Or(failed, ctx.Err())
		}
		failed = cmp.Or(failed, a.err)
		if len(found) > 0 {
			time.AfterFunc(lag, cancel)
		}
	}
	return found, failed
}

// ask looks the name up in one family. The channel has room for the answer, whether or not it is still wanted.
func (d *dialer) ask(ctx context.Context, family, name string) <-chan answer {
	result := make(chan answer, 1)
	go func() {
		addresses, err := d.lookup(ctx, family, name)
		result <- answer{addresses, err}
	}()
	return result
}
