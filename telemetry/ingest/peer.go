package ingest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
)

// peer is who a client is, as far as that is known.
type peer struct {
	known    bool // the kernel says who: a Unix socket
	uid, gid uint32
	groups   []uint32
	name     string // the user name of CONNECT, which has shown its password; "" is nobody
}

// peerOf asks the kernel who is at the other end of c: SO_PEERCRED and SO_PEERGROUPS (unix(7)) give what was true when
// it connected. On TCP nobody knows.
func peerOf(c net.Conn) (p peer) {
	if g, ok := c.(*guest); ok {
		c = g.Conn
	}
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return p
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return p
	}
	_ = raw.Control(func(fd uintptr) {
		cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err == nil {
			p = peer{known: true, uid: cred.Uid, gid: cred.Gid, groups: peerGroups(fd)}
		}
	})
	return p
}

// in reports whether the peer is in the group.
func (p peer) in(gid uint32) bool { return p.gid == gid || slices.Contains(p.groups, gid) }

// String names the peer for people.
func (p peer) String() string {
	switch {
	case p.known:
		return fmt.Sprintf("uid %d (gid %d)", p.uid, p.gid)
	case p.name != "":
		return fmt.Sprintf("user %.64q", p.name)
	}
	return "a client without a name"
}

// client is what quotas know the peer by.
func (p peer) client() string {
	if p.known {
		return strconv.FormatUint(uint64(p.uid), 10)
	}
	return "user " + p.name
}
