package main

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifier tells systemd what sd_notify(3) can say. Without systemd it tells nobody.
type notifier struct {
	socket   string
	watchdog time.Duration // WATCHDOG=1 is due that often; 0 is never
}

// newNotifier reads what systemd put into the environment of this process.
func newNotifier(env func(string) string) notifier {
	n := notifier{socket: env("NOTIFY_SOCKET")}
	if strings.HasPrefix(n.socket, "@") {
		n.socket = "\x00" + n.socket[1:] // the abstract namespace
	}
	if pid := env("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n
	}
	if us, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
		n.watchdog = time.Duration(us) * time.Microsecond / 2
	}
	return n
}

// tell sends lines such as READY=1. That nobody listens is no reason to stop working.
func (n notifier) tell(lines ...string) {
	if n.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(strings.Join(lines, "\n")))
}
