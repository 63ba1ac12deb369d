package dial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// network is a world of addresses: what the resolver says, and after how long who answers.
type network struct {
	*dialer
	mu     sync.Mutex
	names  map[string][]string      // by family: ip4, ip6
	dns    map[string]time.Duration // likewise, how long the resolver takes; < 0 = it never answers
	alive  map[string]time.Duration // how long an address takes to accept; others refuse
	dead   []string                 // say nothing at all
	tried  []string
	open   int // connections
	refuse error
}

const host4, other4, host6 = "192.0.2.1", "192.0.2.2", "2001:db8::1"

// inNetwork runs story in virtual time.
func inNetwork(t *testing.T, story func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{names: map[string][]string{}, dns: map[string]time.Duration{}, alive: map[string]time.Duration{}, refuse: errors.New("connection refused")}
		n.dialer = &dialer{open: n.connect, lookup: n.resolveName, hosts: map[string]*host{}}
		story(t, n)
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.open != 0 {
			t.Errorf("%d connections are left open", n.open)
		}
	})
}

func (n *network) resolveName(ctx context.Context, family, _ string) ([]netip.Addr, error) {
	wait := n.dns[family]
	if wait < 0 {
		<-ctx.Done()
		return nil, &net.DNSError{Err: ctx.Err().Error(), Name: "hub", IsTimeout: true}
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if len(n.names[family]) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: "hub", IsNotFound: true}
	}
	var found []netip.Addr
	for _, a := range n.names[family] {
		found = append(found, netip.MustParseAddr(a))
	}
	return found, nil
}

func (n *network) connect(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	n.mu.Lock()
	n.tried = append(n.tried, host)
	wait, alive := n.alive[host]
	silent := slices.Contains(n.dead, host)
	n.mu.Unlock()
	if !alive && !silent {
		return nil, n.refuse
	}
	if silent {
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	return &conn{n: n, host: host}, nil
}

type conn struct {
	net.Conn
	n    *network
	host string
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open--
	return nil
}

// reach dials the hub and hangs up; it returns which address answered, and what was tried.
func (n *network) reach(t *testing.T) (answered string, tried []string, took time.Duration) {
	t.Helper()
	c, tried, took, err := n.attempt(t)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.(*other).Conn.(*conn).host, tried, took
}

func (n *network) attempt(t *testing.T) (net.Conn, []string, time.Duration, error) {
	n.tried = nil
	start := time.Now()
	c, err := n.dial(t.Context(), "tcp", "hub:8883")
	took := time.Since(start)
	synctest.Wait()
	return c, n.tried, took, err
}
