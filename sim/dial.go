package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// services are all that listen, in the order of their ports.
func (c *Cloud) services() []*service {
	return []*service{c.dps, c.hub, c.est, c.ezca.service, c.entra.service, c.entra.imds, c.dpsWeb, c.hubWeb, c.management, c.blobs}
}

func (c *Cloud) listen(ctx context.Context, s *service, port int) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("listen for the %s: %w", s.name, err)
	}
	c.listeners[s] = l
	c.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.admit(s, conn)
		}
	})
	return nil
}

// admit serves conn until its session ends. A cloud that is closed or offline hangs up.
func (c *Cloud) admit(s *service, conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.temper.Offline {
		conn.Close()
		return false
	}
	l := newLink(c, s, conn)
	c.links[l] = struct{}{}
	c.running.Go(l.run)
	return true
}

func (c *Cloud) addr(s *service) string {
	if l := c.listeners[s]; l != nil {
		return l.Addr().String()
	}
	return ""
}

// Dial connects to the DPS or the hub, by name or by listening address, without a network: everything between
// the two ends is memory, and a synctest bubble may hold both.
func (c *Cloud) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := c.find(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	near, far := newPipe("device", address)
	if !c.admit(s, far) {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: far.LocalAddr(), Err: errors.New("connection refused")}
	}
	return near, nil
}

func (c *Cloud) find(address string) (*service, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for _, s := range c.services() {
		if address == c.addr(s) {
			return s, nil
		}
	}
	if host == DPSServiceHost {
		host = DPSHost
	}
	var found *service // a host that has one service has it on all ports
	for _, s := range c.services() {
		if host == s.host && (found == nil || s.web == (port == "443")) {
			found = s
		}
	}
	if found != nil {
		return found, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}
