package hsmtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Card is a smart card without its reader.
type Card interface {
	ATR() []byte               // the answer to reset
	Reset()                    // the power came or went
	Answer(apdu []byte) []byte // to one command
}

// Reader is a virtual reader with a card in it, pcscd, and OpenSC's module. A pcscd of the machine is not touched.
type Reader struct {
	*Token
	card   Card
	pull   func()
	port   int    // where the reader's driver waits for the card
	conf   string // directory of the reader's configuration
	socket string // where clients look for pcscd
	daemon *exec.Cmd
}

// StartReader makes a reader that has the card in it, which a PIN opens.
func StartReader(t testing.TB, card Card, pin string) *Reader {
	t.Helper()
	const driver = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
	module := first(t, "/usr/lib/*/opensc-pkcs11.so", "opensc-pkcs11")
	for what, packages := range map[string]string{"/usr/sbin/pcscd": "pcscd", driver: "vsmartcard-vpcd", "opensc-tool": "opensc"} {
		Require(t, what, packages)
	}
	// The path of a socket is of 107 bytes at most, which t.TempDir may exceed.
	dir, err := os.MkdirTemp("", "pcsc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &Reader{Token: blank(t, module), card: card, port: pair(t), socket: filepath.Join(dir, "comm")}
	r.SetPIN(pin)
	r.conf = filepath.Join(r.dir, "readers")
	if err := os.Mkdir(r.conf, 0o700); err != nil {
		t.Fatal(err)
	}
	r.write("readers/virtual", fmt.Sprintf("FRIENDLYNAME \"Test\"\nDEVICENAME /dev/null:%d\nLIBPATH %s\nCHANNELID %[1]d\n", r.port, driver))
	r.Env = []string{"PCSCLITE_CSOCK_NAME=" + r.socket, "HOME=" + r.dir, "OPENSC_CONF=" + r.write("opensc.conf", "app default {}\n")}
	t.Cleanup(func() { r.Pull(); r.end(syscall.SIGTERM) })
	r.PutBack()
	r.Run()
	return r
}

// pair is the first of two ports at which nobody listens: the driver has two slots. They are below those that the
// kernel gives to others in the meantime.
func pair(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		if free(port) && free(port+1) {
			return port
		}
	}
	t.Fatal("no two free ports")
	return 0
}

func free(port int) bool {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err == nil {
		_ = l.Close()
	}
	return err == nil
}

// alone runs pcscd, where that is allowed, without a view of the machine's /run: it writes its process number there,
// and finds the machine's own readers by it. It dies with the test. Some releases ask polkit who may use a card.
const alone = `
case "$("$1" --help)" in *--disable-polkit*) set -- "$@" --disable-polkit ;; esac
run='LISTEN_PID=$$ exec setpriv --pdeathsig KILL "$@"'
if unshare --map-root-user --mount mount -t tmpfs none /run 2>/dev/null; then
	exec unshare --map-root-user --mount sh -c "mount -t tmpfs none /run && $run" sh "$@"
fi
eval "$run"`

// Run starts pcscd as systemd does, with a socket that it inherits (sd_listen_fds(3)), and waits until it has the card.
func (r *Reader) Run() {
	r.t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.socket, Net: "unix"})
	if err != nil {
		r.t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	inherited, err := l.File()
	if err != nil {
		r.t.Fatal(err)
	}
	defer inherited.Close()
	r.daemon = exec.Command("sh", "-c", alone, "sh", "/usr/sbin/pcscd", "--foreground", "--critical", "--config", r.conf)
	r.daemon.Env = append(os.Environ(), "LISTEN_FDS=1")
	r.daemon.ExtraFiles = []*os.File{inherited}
	if err := r.daemon.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.await()
}

func (r *Reader) await() {
	r.t.Helper()
	var out []byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
		ask := exec.CommandContext(ctx, "opensc-tool", "--atr")
		ask.Env = append(os.Environ(), r.Env...)
		var err error
		out, err = ask.CombinedOutput()
		cancel()
		if err == nil {
			return
		}
	}
	r.t.Fatalf("pcscd has no card after a minute: %s", out)
}

// Kill ends pcscd in the midst of it, and nobody is where it was.
func (r *Reader) Kill() { r.end(syscall.SIGKILL) }

func (r *Reader) end(s syscall.Signal) {
	if r.daemon == nil {
		return
	}
	r.Thaw()
	_ = r.daemon.Process.Signal(s)
	_ = r.daemon.Wait()
	_ = os.Remove(r.socket)
	r.daemon = nil
}

// Freeze makes pcscd hang: all its threads, when Freeze returns.
func (r *Reader) Freeze() {
	r.t.Helper()
	_ = r.daemon.Process.Signal(syscall.SIGSTOP)
	if err := unix.Waitid(unix.P_PID, r.daemon.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		r.t.Fatal(err)
	}
}

// Thaw lets pcscd go on.
func (r *Reader) Thaw() { _ = r.daemon.Process.Signal(syscall.SIGCONT) }

// Pull takes the card out of its reader.
func (r *Reader) Pull() {
	if r.pull != nil {
		r.pull()
		r.pull = nil
	}
}

// PutBack puts it back.
func (r *Reader) PutBack() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.insert(ctx) })
	r.pull = func() { cancel(); wg.Wait() }
}

// insert has the card in the reader whenever there is one.
func (r *Reader) insert(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		r.power(conn)
		stop()
		_ = conn.Close()
	}
}

// power serves the card for as long as the driver is there. Its messages are a length of two bytes, and a command for
// the card; those of one byte are for the slot: 0 off, 1 on, 2 reset, 4 the answer to reset (vsmartcard, vpcd.h).
func (r *Reader) power(conn net.Conn) {
	r.card.Reset()
	for {
		command, err := hear(conn)
		if err != nil {
			return
		}
		var answer []byte
		switch {
		case len(command) != 1:
			answer = r.card.Answer(command)
		case command[0] == 4:
			answer = r.card.ATR()
		default:
			r.card.Reset()
			continue
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// hear acknowledges at once: the driver sends a message in two parts, and would wait 40 ms between them.
func hear(conn net.Conn) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	if raw, err := conn.(*net.TCPConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
	command := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, command)
	return command, err
}
