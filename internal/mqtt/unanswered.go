package mqtt

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout has the kernel end conn when what was sent stays without a TCP acknowledgement for d (tcp(7),
// TCP_USER_TIMEOUT). A tunnel in TLS has its socket below (tls.Conn.NetConn). What is no socket of TCP is left as it is, and so
// is one that does not know the option: pings and deadlines notice a dead path too, later.
func userTimeout(conn net.Conn, d time.Duration) {
	if tunnel, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tunnel.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok || d < 0 {
		return
	}
	if control, err := socket.SyscallConn(); err == nil {
		_ = control.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
	}
}
