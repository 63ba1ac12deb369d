package mqtt

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serveTCP is w's server on a real socket, where serve plays it.
func (w *world) serveTCP(t *testing.T, serve func(p *peer)) {
	w.listen(t, func(c net.Conn) { serve(&peer{c, bufio.NewReader(c)}) })
}

// tunnel is a connection through a proxy that is spoken to in TLS.
type tunnel struct{ net.Conn }

func (t tunnel) NetConn() net.Conn { return t.Conn }

func TestKernelIsToldHowLongBytesMayStayUnanswered(t *testing.T) {
	for _, through := range []func(net.Conn) net.Conn{
		func(c net.Conn) net.Conn { return c },
		func(c net.Conn) net.Conn { return tunnel{c} },
	} {
		for set, want := range map[time.Duration]int{0: 30_000, 7 * time.Second: 7_000, -1: 0} {
			unansweredIs(t, set, want, through)
		}
	}
}

func unansweredIs(t *testing.T, set time.Duration, want int, through func(net.Conn) net.Conn) {
	t.Helper()
	w := newWorld(t, nil)
	w.serveTCP(t, func(p *peer) { p.accept(); p.obey() })
	var socket net.Conn
	w.Options.Dial = func(ctx context.Context, network, address string) (c net.Conn, err error) {
		socket, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return through(socket), err
	}
	w.Unanswered = set
	c := w.dial(t)
	defer c.Close()
	control, err := socket.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = control.Control(func(fd uintptr) {
		if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); got != want || err != nil {
			t.Errorf("%v through %T: TCP_USER_TIMEOUT is %d ms, %v", set, through(socket), got, err)
		}
	})
}

// inOwnNetwork runs the test again in a network of its own, which it may take down, and reports whether this is there.
func inOwnNetwork(t *testing.T) bool {
	const mark = "DEVID_TEST_OWN_NETWORK"
	if os.Getenv(mark) != "" {
		return true
	}
	again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), mark+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		again.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("in a network of its own, which takes root or user namespaces: %v\n%s", err, out)
	}
	return false
}

// loopback brings lo up or down. While it is down, what is sent vanishes.
func loopback(t *testing.T, up bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if up {
		lo.SetUint16(unix.IFF_UP)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

func TestFault36PathThatDiesUnderASessionIsNoticedWhileBytesAreUnanswered(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	loopback(t, true)
	w := newWorld(t, nil)
	w.serveTCP(t, func(p *peer) { p.accept(); p.obey() })
	w.KeepAlive, w.Unanswered = time.Hour, time.Second
	c := w.dial(t)
	if err := c.Publish("t", []byte("1")).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	loopback(t, false)
	start := time.Now()
	c.Publish("t", []byte("2"))
	select {
	case <-c.Done():
		t.Logf("noticed after %v: %v", time.Since(start), c.Err())
	case <-time.After(15 * time.Second):
		t.Error("a dead path is not noticed")
	}
	c.Close()
}
