package hsm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devid-agent/devid-agent/fault"
	"github.com/devid-agent/devid-agent/hsm/wire"
)

// helper is one running devid-pkcs11, the leader of a process group of its own.
type helper struct {
	cmd    *exec.Cmd
	conn   *net.UnixConn
	client *wire.Client
	said   *said
	aside  *aside

	dead  bool
	open  bool // the module is loaded, the token found, and we are logged in
	token wire.Token
}

const (
	program = "devid-pkcs11"
	libexec = "/usr/libexec"  // where packages put it
	grace   = 3 * time.Second // for a question that was asked, when its asker is gone
	parting = 2 * time.Second // for a module to let go of its token
	burial  = time.Second     // for a killed process to be gone
)

// locate finds the helper's program: as configured, beside our own, where packages put it, or in PATH.
func locate(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	if self, err := os.Executable(); err == nil {
		for _, dir := range []string{filepath.Dir(self), libexec} {
			path := filepath.Join(dir, program)
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fault.AskOperator(fmt.Errorf("start the PKCS#11 helper: %w", err),
			"install "+program+" of the same release beside devid-agent")
	}
	return path, nil
}

// start returns a helper that has said hello.
func (s *Store) start() (*helper, error) {
	if err := s.buried(); err != nil {
		return nil, err
	}
	path, err := locate(s.config.Helper)
	if err != nil {
		return nil, err
	}
	near, far, err := pair()
	if err != nil {
		return nil, fmt.Errorf("start the PKCS#11 helper: %w", err)
	}
	h := &helper{conn: near, said: s.said, cmd: &exec.Cmd{Path: path, Args: []string{program}, Dir: "/",
		// A stack trace holds nothing that a vendor could use, and much that would hide the first line.
		Env:    append(slices.Clone(s.config.Env), "GOTRACEBACK=none"),
		Stdout: s.said, Stderr: s.said, ExtraFiles: []*os.File{far}, WaitDelay: burial,
		// The death signal comes when our thread that started the helper ends. Go keeps its threads.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}}}
	s.said.forget()
	err = h.cmd.Start()
	_ = far.Close() // or we would not hear the helper hang up
	if err != nil {
		_ = near.Close()
		return nil, fault.AskOperator(fmt.Errorf("start the PKCS#11 helper: %w", err), "install "+program+" of the same release as devid-agent, or correct keys.helper")
	}
	h.aside = newAside(h.cmd.Process.Pid)
	if err := h.greet(s.config.Deadline); err != nil {
		return nil, err
	}
	return h, nil
}

// pair is a connected pair of sockets: ours, and the one that the helper inherits.
func pair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, far := os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "agent")
	defer ours.Close()
	near, err := net.FileConn(ours)
	if err != nil {
		_ = far.Close()
		return nil, nil, err
	}
	return near.(*net.UnixConn), far, nil
}

func (h *helper) greet(patience time.Duration) error {
	if err := h.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	client, err := wire.Greet(wire.Eager(h.conn))
	if err == nil {
		h.client = client
		return nil
	}
	if _, other := errors.AsType[*wire.VersionError](err); other {
		h.kill()
		return fault.AskOperator(fmt.Errorf("start the PKCS#11 helper %s: %w", h.cmd.Path, err), "install "+program+" of the same release as devid-agent")
	}
	return fmt.Errorf("start the PKCS#11 helper %s: %w", h.cmd.Path, h.autopsy(err))
}

// ask sends one question and waits for its answer, at most for patience. A question that was asked is waited for,
// for grace when ctx is gone: its answer would otherwise be taken for the one to the next. While the helper is at work
// on it, meanwhile is called.
func (h *helper) ask(ctx context.Context, r wire.Request, patience time.Duration, meanwhile func()) (wire.Answer, error) {
	deadline := time.Now().Add(patience)
	if err := h.conn.SetDeadline(deadline); err != nil {
		return wire.Answer{}, err
	}
	hurried := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(hurried)
		if soon := time.Now().Add(grace); soon.Before(deadline) {
			_ = h.conn.SetDeadline(soon)
		}
	})
	h.said.forget()
	h.aside.ask()
	a, err := h.client.Call(r, meanwhile)
	h.aside.answered()
	if !stop() {
		<-hurried // lest it cuts the next question short
	}
	if err != nil {
		return wire.Answer{}, h.autopsy(err)
	}
	return a, nil
}

// autopsy kills the helper, if it still lives, and says in words why it is of no use any more.
func (h *helper) autopsy(err error) error {
	overran := errors.Is(err, os.ErrDeadlineExceeded)
	if !overran {
		h.await(burial) // it may be dying: how tells why
	}
	end := h.kill()
	words := h.said.last()
	switch {
	case overran:
		err = errors.New("the module did not answer in time, so its process was killed")
	case end != nil:
		err = fmt.Errorf("the module's process died (%w)", end)
	default:
		err = fmt.Errorf("the module's process: %w", err)
	}
	if words != "" {
		err = fmt.Errorf("%w: %s", err, words)
	}
	return err
}

// rest lets the helper go: it logs out, unloads the module and ends.
func (h *helper) rest() {
	_ = h.conn.Close()
	h.await(parting)
	_ = h.kill()
}

// kill ends the whole process group, with what the module may have started, and returns how the helper ended.
func (h *helper) kill() error {
	_ = h.conn.Close()
	_ = unix.Kill(-h.cmd.Process.Pid, unix.SIGKILL)
	if !h.await(burial) {
		return errors.New("it does not even die: it hangs in a driver")
	}
	h.dead = true
	return h.cmd.Wait()
}

// await reports whether the helper is dead, after at most d. It leaves the body, so that the process group's number
// stays ours.
func (h *helper) await(d time.Duration) bool {
	for end, pause := time.Now().Add(d), 100*time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, h.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == nil && info.Signo != 0 || errors.Is(err, unix.ECHILD) {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
}
