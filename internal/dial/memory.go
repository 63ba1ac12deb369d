package dial

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// enough is how many addresses of a host are remembered.
const enough = 4

// host is what is remembered of one name.
type host struct {
	mu   sync.Mutex
	good []netip.Addr // have answered, the last one first
	bad  netip.Addr   // where somebody else answered
}

func (d *dialer) host(name string) *host {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hosts[name] == nil {
		d.hosts[name] = &host{}
	}
	return d.hosts[name]
}

func (h *host) known() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.good) > 0
}

func (h *host) worked(a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.good = slices.Insert(slices.DeleteFunc(h.good, func(b netip.Addr) bool { return a == b }), 0, a)
	h.good = h.good[:min(len(h.good), enough)]
}

func (h *host) distrust(a netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.good = append(slices.DeleteFunc(h.good, func(b netip.Addr) bool { return a == b }), a)
	h.bad = a
}

// order is in which order to try: what has answered and is still named, what else is named, what is not named any
// more, and where somebody else answered.
func (h *host) order(found []netip.Addr) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	named := interleave(found)
	all := make([]netip.Addr, 0, len(named)+len(h.good))
	add := func(from []netip.Addr, when func(netip.Addr) bool) {
		for _, a := range from {
			if !slices.Contains(all, a) && when(a) {
				all = append(all, a)
			}
		}
	}
	add(h.good, func(a netip.Addr) bool { return a != h.bad && slices.Contains(named, a) })
	add(named, func(a netip.Addr) bool { return a != h.bad })
	add(h.good, func(netip.Addr) bool { return true })
	add(named, func(netip.Addr) bool { return true })
	return all
}

// interleave has the families take turns (RFC 8305, section 4), that of the resolver's first address first.
func interleave(found []netip.Addr) []netip.Addr {
	var first, second []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); len(first) == 0 || a.Is4() == first[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	mixed := make([]netip.Addr, 0, len(found))
	for i := range max(len(first), len(second)) {
		mixed = append(mixed, first[min(i, len(first)):min(i+1, len(first))]...)
		mixed = append(mixed, second[min(i, len(second)):min(i+1, len(second))]...)
	}
	return mixed
}

// trusted is conn with a method Distrust. It stays a *net.TCPConn inside: options of the socket can be set.
func trusted(conn net.Conn, h *host, a netip.Addr) net.Conn {
	if socket, ok := conn.(*net.TCPConn); ok {
		return &tcp{socket, distrust{h, a}}
	}
	return &other{conn, distrust{h, a}}
}

type tcp struct {
	*net.TCPConn
	distrust
}

type other struct {
	net.Conn
	distrust
}

type distrust struct {
	host    *host
	address netip.Addr
}

// Distrust says that it is not the host who answers at the address of this connection.
func (d distrust) Distrust() { d.host.distrust(d.address) }
