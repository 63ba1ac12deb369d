// Package dial opens TCP connections over networks that are half broken: a family of addresses that leads nowhere, an
// address that hangs, a resolver that is gone or lies.
package dial

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Dial opens a connection, like (*net.Dialer).DialContext.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

const (
	// headStart is what each address has before the next is tried beside it (RFC 8305, section 5).
	headStart = 250 * time.Millisecond
	// patience is how long one address may take. Linux alone would try for two minutes.
	patience = 15 * time.Second
	// resolving is how long the resolver may take where we know no address, and hurried where we do.
	resolving, hurried = 20 * time.Second, 5 * time.Second
)

// Dialer reaches host:port over TCP. All addresses of the host are tried, each a little after the one before and none
// for longer than 15 s; the first that answers is the connection. An address that has answered before comes first among
// them. It also comes last where the resolver does not name it any more, and alone where the resolver gives nothing:
// who answers there is for TLS to decide. What is remembered is up to four addresses for each host, in memory.
//
// A connection that it returns has a method Distrust(): who finds that somebody else answers calls it, and then other
// addresses come first.
func Dialer() Dial {
	d := &dialer{
		open:   (&net.Dialer{KeepAlive: -1}).DialContext, // the protocols above have pings of their own
		lookup: (&net.Resolver{}).LookupNetIP,
		hosts:  make(map[string]*host),
	}
	return d.dial
}

type dialer struct {
	open   Dial
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	mu     sync.Mutex
	hosts  map[string]*host
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return d.one(ctx, network, address)
	}
	h := d.host(name)
	found, err := d.resolve(ctx, h, name)
	if err != nil {
		return nil, err
	}
	return d.race(ctx, h, network, port, h.order(found))
}

// attempt is what came of one address.
type attempt struct {
	conn    net.Conn
	address netip.Addr
	err     error
}

// race tries the addresses in their order, each headStart after the one before or as soon as that has failed.
func (d *dialer) race(ctx context.Context, h *host, network, port string, addresses []netip.Addr) (net.Conn, error) {
	trying, stop := context.WithCancel(ctx)
	defer stop()
	results := make(chan attempt)
	var failed error
	running, next := 0, time.NewTimer(0)
	defer next.Stop()
	for len(addresses) > 0 || running > 0 {
		select {
		case <-next.C:
			if len(addresses) == 0 {
				continue
			}
			go d.try(trying, results, network, addresses[0], port)
			addresses, running = addresses[1:], running+1
			next.Reset(headStart)
		case a := <-results:
			running--
			if a.err == nil {
				go drain(results, running)
				h.worked(a.address)
				return trusted(a.conn, h, a.address), nil
			}
			failed = also(failed, a.err)
			next.Reset(0)
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, failed
}

func (d *dialer) try(ctx context.Context, results chan<- attempt, network string, address netip.Addr, port string) {
	conn, err := d.one(ctx, network, net.JoinHostPort(address.String(), port))
	results <- attempt{conn, address, err}
}

// one dials one address, for as long as one may take.
func (d *dialer) one(ctx context.Context, network, address string) (net.Conn, error) {
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := d.open(limit, network, address)
	if err != nil && limit.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("dial %s %s: no answer within %v", network, address, patience)
	}
	return conn, err
}

// drain lets go of those that come too late.
func drain(results <-chan attempt, running int) {
	for range running {
		if a := <-results; a.err == nil {
			a.conn.Close()
		}
	}
}

// also is both errors in one line.
func also(first, second error) error {
	if first == nil {
		return second
	}
	return fmt.Errorf("%w; %w", first, second)
}
